"""The parts of a turn add up to the wait, whatever is missing or out of order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bus import timings
from bus.messages.jobs import Attempt
from bus.messages.turn import PastAttempt
from bus.timings import AHEAD, MARKS, PARTS, TOTAL, TOTAL_TO_FIRST_TOKEN, WAITED, attempts_ms, timings_ms

MS = 1_000_000
ANY_TIME_NS = st.integers(0, 10**15)
ANY_MARKS = st.dictionaries(st.sampled_from(MARKS), ANY_TIME_NS)


def in_order(gaps_ns: list[int]) -> dict[str, int]:
    """All marks, each so long after the one before."""
    marks, at_ns = {}, 0
    for name, gap_ns in zip(MARKS, gaps_ns, strict=True):
        at_ns += gap_ns
        marks[name] = at_ns
    return marks


ORDERED_MARKS = st.lists(st.integers(0, 10**11), min_size=len(MARKS), max_size=len(MARKS)).map(in_order)


def parts_us(result: dict[str, float]) -> dict[str, int]:
    return {name: round(ms * 1000) for name, ms in result.items() if name in PARTS}


def test_each_part_is_the_time_between_its_two_marks() -> None:
    result = timings_ms({name: place * place * MS for place, name in enumerate(MARKS)})
    assert list(result) == [*PARTS, TOTAL_TO_FIRST_TOKEN, TOTAL]
    assert [result[part] for part in PARTS] == [2 * place + 1 for place in range(len(PARTS))]
    assert result[TOTAL] == 256
    assert result[TOTAL_TO_FIRST_TOKEN] == 121


def test_the_time_of_a_skipped_stage_is_in_the_next_part_that_is_there() -> None:
    result = timings_ms({timings.SPEECH_END: 0, timings.COMMITTED: 700 * MS, timings.STT_END: 950 * MS, timings.REMEMBERED: 960 * MS})
    assert result == {"endpoint_wait": 700, "transcribe": 250, "closing": 10, TOTAL: 960}


def test_without_the_end_of_speech_the_wait_begins_at_the_first_mark() -> None:
    assert timings_ms({timings.STT_START: 5 * MS, timings.STT_END: 8 * MS}) == {"transcribe": 3, TOTAL: 3}


def test_without_marks_there_is_nothing_to_tell() -> None:
    assert timings_ms({}) == {}


def test_a_stranger_among_the_marks_is_ignored() -> None:
    assert timings_ms({"coffee": 1, timings.STT_START: 5, timings.STT_END: 2005}) == {"transcribe": 0.002, TOTAL: 0.002}


@given(ANY_MARKS)
def test_the_parts_add_up_to_the_total_and_none_is_negative(marks: dict[str, int]) -> None:
    result = timings_ms(marks)
    parts = parts_us(result)
    assert all(part >= 0 for part in parts.values())
    assert sum(parts.values()) == round(result.get(TOTAL, 0) * 1000)


@given(ANY_MARKS)
def test_the_parts_up_to_the_first_word_add_up_to_the_felt_wait(marks: dict[str, int]) -> None:
    result = timings_ms(marks)
    felt = sum(us for name, us in parts_us(result).items() if name in WAITED)
    if marks.keys() & {timings.FIRST_TOKEN, timings.FIRST_SHOWN}:
        assert felt == round(result[TOTAL_TO_FIRST_TOKEN] * 1000)
    else:
        assert TOTAL_TO_FIRST_TOKEN not in result


HEARD_AHEAD = {
    timings.SPEECH_END: 0,
    timings.COMMITTED: 300 * MS,
    timings.SUBMITTED: 301 * MS,
    timings.STT_START: 90 * MS,
    timings.STT_END: 250 * MS,
}


def test_what_was_done_before_the_end_was_decided_is_no_part_of_the_wait() -> None:
    marks = HEARD_AHEAD | {timings.TURN_START: 303 * MS, timings.TURN_END: 304 * MS, timings.FIRST_TOKEN: 350 * MS}
    assert timings_ms(marks) == {
        **{"endpoint_wait": 300, "submit": 1, "stt_queue": 0, "transcribe": 0, "turn_wait": 2, "turn_logic": 1, "first_token": 46},
        **{"transcribe_ahead": 160, "turn_wait_ahead": 50},
        **{TOTAL_TO_FIRST_TOKEN: 350, TOTAL: 350},
    }


def test_work_that_is_not_finished_when_the_end_is_decided_counts_from_there() -> None:
    result = timings_ms(HEARD_AHEAD | {timings.STT_END: 420 * MS})
    assert (result["transcribe"], result["transcribe_ahead"]) == (119, 210)


def test_words_that_were_there_before_the_end_was_decided_count_from_when_they_were_told() -> None:
    made = HEARD_AHEAD | {timings.LLM_START: 255 * MS, timings.FIRST_TOKEN: 295 * MS}
    assert timings_ms(made)[TOTAL_TO_FIRST_TOKEN] == 301, "not before the end was decided and the turn handed on"
    result = timings_ms(made | {timings.FIRST_SHOWN: 304 * MS, timings.FIRST_CLAUSE: 340 * MS, timings.LAST_TOKEN: 400 * MS})
    assert (result["first_token"], result["release"], result[TOTAL_TO_FIRST_TOKEN]) == (0, 3, 304)
    assert {part: result[name] for part, name in AHEAD.items() if name in result} == {
        **{"transcribe": 160, "llm_queue": 5, "first_token": 40, "first_clause": 5},
    }


@given(ANY_MARKS)
def test_no_more_was_done_ahead_than_there_was_time_for(marks: dict[str, int]) -> None:
    result = timings_ms(marks)
    ahead_us = [round(result[name] * 1000) for name in AHEAD.values() if name in result]
    assert all(us > 0 for us in ahead_us)
    assert sum(ahead_us) <= round(result.get("endpoint_wait", 0) * 1000)


@given(ANY_MARKS, st.integers(0, 10**11))
def test_what_was_done_ahead_lasts_from_its_beginning_until_the_end_is_decided(marks: dict[str, int], wait_ns: int) -> None:
    """Of a turn that was over after its end was decided, as all are that are remembered."""
    end_ns = 10**15
    marks = {name: at_ns for name, at_ns in marks.items() if name not in (timings.FIRST_SHOWN, timings.FIRST_SOUND, timings.LAST_SOUND)} | {
        **{timings.SPEECH_END: end_ns - wait_ns, timings.COMMITTED: end_ns, timings.REMEMBERED: end_ns},
    }
    result = timings_ms(marks)
    course = MARKS[MARKS.index(timings.STT_START) :]
    begin_ns = next(marks[name] for name in course if name in marks)
    ahead_us = sum(round(result[name] * 1000) for name in AHEAD.values() if name in result)
    assert abs(ahead_us - min(wait_ns, end_ns - begin_ns) / 1000) <= 1


@given(ORDERED_MARKS)
def test_of_marks_in_order_nothing_was_done_ahead(marks: dict[str, int]) -> None:
    assert not timings_ms(marks).keys() & set(AHEAD.values())


@given(ORDERED_MARKS, st.sets(st.sampled_from(MARKS[1:-1])))
def test_leaving_out_marks_between_the_ends_changes_no_total(marks: dict[str, int], missing: set[str]) -> None:
    rest = {name: at_ns for name, at_ns in marks.items() if name not in missing}
    assert timings_ms(rest)[TOTAL] == timings_ms(marks)[TOTAL]


@given(ORDERED_MARKS)
def test_marks_in_order_give_the_total_of_the_two_ends(marks: dict[str, int]) -> None:
    assert timings_ms(marks)[TOTAL] == round((marks[MARKS[-1]] - marks[MARKS[0]]) / 1000) / 1000


@given(ORDERED_MARKS, ANY_TIME_NS)
def test_when_the_machine_was_started_does_not_matter(marks: dict[str, int], shift_ns: int) -> None:
    assert timings_ms({name: at_ns + shift_ns for name, at_ns in marks.items()}) == timings_ms(marks)


def attempt(leased_ns: int, ended_ns: int, lost: str = "") -> Attempt:
    return Attempt(stage="transcribe", worker="whisper-1", number=1, leased_ns=leased_ns, ended_ns=ended_ns, lost=lost)


def test_the_history_of_a_turn_counts_from_its_first_mark() -> None:
    marks = {timings.SPEECH_END: 100 * MS, timings.COMMITTED: 700 * MS}
    assert attempts_ms(marks, [attempt(701 * MS, 902 * MS, "its worker died")]) == [
        PastAttempt(stage="transcribe", worker="whisper-1", number=1, begin_ms=601, end_ms=802, lost="its worker died")
    ]


def test_a_history_without_marks_has_no_place_in_time() -> None:
    assert attempts_ms({}, [attempt(1, 2)]) == []


@given(ANY_MARKS, st.lists(st.builds(attempt, ANY_TIME_NS, ANY_TIME_NS), max_size=5))
def test_no_attempt_begins_before_the_turn_or_ends_before_it_begins(marks: dict[str, int], history: list[Attempt]) -> None:
    assert all(0 <= past.begin_ms <= past.end_ms for past in attempts_ms(marks, history))
