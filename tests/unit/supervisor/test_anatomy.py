"""A turn taken apart: its parts add up, whoever had them and whatever was tried in vain."""

from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.messages.turn import PastAttempt, TurnRecord
from bus.timings import PARTS
from supervisor.anatomy import ENDPOINT, GAP_MS, QUEUE, SILENCE, WORK, anatomy, lanes, lost_within, percentile, place, to_json
from tests.unit.supervisor.turns import DONE_AHEAD_MS, PARTS_MS, RECORDS, WALL_NS, attempt, record

DONE = [
    attempt("transcribe", "whisper-2", 604, 806),
    attempt("heard", "dialogue", 806, 808),
    attempt("recall", "memory", 808, 811),
    attempt("answer", "llm", 811, 981),
    attempt("answered", "dialogue", 981, 983),
]


@given(RECORDS)
def test_the_parts_of_any_turn_add_up_to_the_whole_and_each_begins_where_the_one_before_it_ended(turn: TurnRecord) -> None:
    found = anatomy(turn)
    assert sum(part.duration_ms for part in found.parts) == pytest.approx(found.total_ms, abs=1e-3)
    ends = [0.0, *(part.end_ms for part in found.parts)]
    assert [part.begin_ms for part in found.parts] == pytest.approx(ends[:-1], abs=1e-6)
    assert ends[-1] == pytest.approx(found.total_ms, abs=1e-3)


@given(RECORDS)
def test_the_critical_path_of_any_turn_adds_up_to_the_wait_for_the_first_word(turn: TurnRecord) -> None:
    found = anatomy(turn)
    wait_ms = found.total_ms if found.first_word_ms is None else found.first_word_ms
    assert sum(part.duration_ms for part in found.parts if part.critical) == pytest.approx(wait_ms, abs=1e-3)


@given(RECORDS)
def test_every_part_and_every_attempt_has_a_lane_and_every_lost_attempt_a_part(turn: TurnRecord) -> None:
    found = anatomy(turn)
    names = lanes([found])
    assert len(set(names)) == len(names)
    assert {part.actor for part in found.parts} | {one.worker for one in turn.attempts} == set(names)
    if found.parts:
        assert sum(map(len, lost_within(found).values())) == len(found.lost)


@given(RECORDS)
def test_any_turn_can_be_told_as_json_and_says_no_words_unless_asked(turn: TurnRecord) -> None:
    line = json.dumps(to_json(anatomy(turn), words=False))
    assert turn.transcript not in line
    assert turn.reply not in line
    assert to_json(anatomy(turn), words=True)["reply"] == turn.reply


def test_a_part_belongs_to_the_worker_whose_result_was_taken() -> None:
    died = attempt("transcribe", "whisper-1", 601, 603, "its worker died")
    found = anatomy(record(attempts=[died, *DONE]))
    assert {part.name: part.actor for part in found.parts} == {
        "endpoint_wait": "vad",
        "submit": "vad",
        "stt_queue": "whisper-2",
        "transcribe": "whisper-2",
        "turn_wait": "dialogue",
        "turn_logic": "dialogue",
        "recall_wait": "memory",
        "recall": "memory",
        "llm_queue": "llm",
        "first_token": "llm",
        "first_clause": "llm",
        "generate": "llm",
        "closing": "memory",
    }


def test_a_turn_of_which_no_history_was_kept_has_the_kinds_of_its_actors() -> None:
    assert lanes([anatomy(record())]) == ["vad", "whisper", "dialogue", "memory", "llm"]


def test_words_that_needed_no_model_were_said_by_the_turn_manager() -> None:
    parts = {name: PARTS_MS[name] for name in ("endpoint_wait", "submit", "stt_queue", "transcribe", "turn_wait", "turn_logic")}
    found = anatomy(record(parts={**parts, "first_token": 0.0, "first_clause": 0.0, "generate": 0.0, "closing": 3.0}, attempts=DONE[:2]))
    assert found.parts[-2].actor == "dialogue"
    assert lanes([found]) == ["vad", "whisper-2", "dialogue", "memory"]


def test_a_spoken_answer_begins_with_the_voice_and_is_heard_from_the_speaker() -> None:
    parts = {**PARTS_MS, "first_sound": 5.0, "speak": 1200.0}
    found = anatomy(
        record(parts={name: parts[name] for name in PARTS if name in parts}, attempts=[*DONE, attempt("say", "tts", 985, 2200)])
    )
    assert [part.actor for part in found.parts if part.name in ("first_sound", "speak")] == ["tts", "speaker"]


def test_silence_queues_and_work_are_told_apart() -> None:
    kinds = {part.name: part.kind for part in anatomy(record()).parts}
    assert (kinds["endpoint_wait"], kinds["stt_queue"], kinds["transcribe"]) == (SILENCE, QUEUE, WORK)
    assert set(kinds) == set(PARTS) - {"release", "first_sound", "speak"}, "only an answer made ahead is let out, and only a voice speaks"


def test_what_comes_after_the_first_word_is_not_on_the_critical_path() -> None:
    assert [part.name for part in anatomy(record()).parts if not part.critical] == ["first_clause", "generate", "closing"]


def test_a_turn_without_a_first_word_is_waited_for_to_its_end() -> None:
    parts = {name: PARTS_MS[name] for name in ("endpoint_wait", "transcribe", "closing")}
    assert all(part.critical for part in anatomy(record(parts=parts, state="empty")).parts)


@pytest.mark.parametrize(
    ("lost", "is_critical"),
    [
        (attempt("transcribe", "whisper-1", 601, 603.5, "its worker died"), True),
        (attempt("transcribe", "whisper-1", 601, 806, "another was quicker"), False),
        (attempt("answer", "llm", 700, 800, "its worker died"), True),
        (attempt("remember", "memory", 983, 984, "the memory store cannot be written"), False),
    ],
    ids=["another began after it", "another had it already", "of a later stage", "after the first word"],
)
def test_a_lost_attempt_is_on_the_critical_path_when_the_first_word_waited_for_it(lost: PastAttempt, is_critical: bool) -> None:
    (trial,) = anatomy(record(attempts=[lost, *DONE])).lost
    assert trial.critical is is_critical


def test_of_two_workers_at_a_late_transcription_the_quicker_has_the_part_and_the_first_word_did_not_wait_for_the_other() -> None:
    slow = attempt("transcribe", "whisper-1", 601, 5806, "another worker was quicker")
    quick = attempt("transcribe", "whisper-2", 5604, 5806, number=2)
    found = anatomy(record(parts={**PARTS_MS, "stt_queue": 5004.5}, attempts=[slow, quick]))
    assert [part.actor for part in found.parts if part.name in ("stt_queue", "transcribe")] == ["whisper-2", "whisper-2"]
    assert [(trial.attempt.worker, trial.critical) for trial in found.trials] == [("whisper-1", False), ("whisper-2", True)]
    assert list(lost_within(found)) == ["stt_queue"]
    assert sum(part.duration_ms for part in found.parts) == pytest.approx(found.total_ms, abs=1e-3)
    assert sum(part.duration_ms for part in found.parts if part.critical) == pytest.approx(found.first_word_ms, abs=1e-3)


def test_a_lost_attempt_stands_in_the_part_in_which_it_began() -> None:
    lost = attempt("answer", "llm", 811.5, 812, "its worker died")
    found = anatomy(record(attempts=[*DONE[:3], lost, *DONE[3:]]))
    assert {part: [trial.attempt for trial in trials] for part, trials in lost_within(found).items()} == {"llm_queue": [lost]}


def test_a_turn_as_json_has_the_promised_fields_and_no_others() -> None:
    found = to_json(anatomy(record(attempts=DONE[:1])), words=False)
    assert list(found) == [
        *("turn", "stream", "state", "detail", "over_wall_ns", "first_word_ms", "first_clause_ms", "total_ms", "parts", "attempts")
    ]
    assert (found["first_word_ms"], found["first_clause_ms"], found["total_ms"]) == (850.0, 880.0, 985.0)
    assert found["parts"][3] == {
        "part": "transcribe",
        "actor": "whisper-2",
        "kind": "work",
        "begin_ms": 605.0,
        "duration_ms": 200.0,
        "critical": True,
        "ahead": None,
    }
    assert found["attempts"] == [{**msgspec.to_builtins(DONE[0]), "critical": True}]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_so_many_percent_of_the_values_do_not_exceed_a_percentile(values: list[float], percent: int) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values)
    assert sum(value < found for value in values) < percent / 100 * len(values)


def test_work_done_ahead_lies_where_it_was_and_what_it_waited_for_is_no_work() -> None:
    found = anatomy(record(parts=DONE_AHEAD_MS))
    ahead = {part.name: (part.ahead.begin_ms, part.ahead.end_ms) for part in found.parts if part.ahead is not None}
    assert ahead == {"transcribe": (50, 210), "first_token": (250, 300)}
    assert (found.first_word_ms, found.total_ms, found.ahead_ms) == (303, 403, 210)
    assert [part.name for part in found.parts if not part.critical] == ["first_clause", "generate", "closing"]
    (transcribe,) = (part for part in to_json(found, words=False)["parts"] if part["part"] == "transcribe")
    assert (transcribe["duration_ms"], transcribe["ahead"]) == (0, {"begin_ms": 50.0, "duration_ms": 160.0})


@given(RECORDS)
def test_work_ahead_lies_in_the_silence_that_was_waited_out_each_after_the_one_before(turn: TurnRecord) -> None:
    found = anatomy(turn)
    times = [at_ms for part in found.parts if part.ahead is not None for at_ms in (part.ahead.begin_ms, part.ahead.end_ms)]
    assert times == sorted(times)
    assert all(0 <= at_ms <= found.group_ms(ENDPOINT) + 1e-3 for at_ms in times)


def later(seconds: float) -> TurnRecord:
    return record(wall_ns=WALL_NS + round(seconds * 1e9))


def test_the_idle_time_between_turns_is_cut_and_what_overlapped_overlaps() -> None:
    turns = [anatomy(later(seconds)) for seconds in (0, 3600, 3600.5)]
    ((first, second, third),) = place(turns, 6000)
    assert (first.begin_ms, second.begin_ms) == (0, 985 + GAP_MS)
    assert third.begin_ms == pytest.approx(second.begin_ms + 500)


def test_turns_that_find_no_room_in_a_row_begin_another() -> None:
    turns = [anatomy(later(10 * number)) for number in range(4)]
    assert [[placed.number for placed in row] for row in place(turns, 2200)] == [[1, 2], [3, 4]]
    assert [[placed.number for placed in row] for row in place(turns, 10)] == [[1], [2], [3], [4]]


@given(st.lists(RECORDS, min_size=1, max_size=6), st.floats(1, 1e5))
def test_every_turn_is_placed_once_in_the_order_in_which_it_was_spoken(turns: list[TurnRecord], row_ms: float) -> None:
    rows = place([anatomy(turn) for turn in turns], row_ms)
    placed = [one for row in rows for one in row]
    assert sorted(one.number for one in placed) == list(range(1, len(turns) + 1))
    begins = [one.anatomy.begin_wall_ns for one in placed]
    assert begins == sorted(begins)
    assert all(one.begin_ms <= other.begin_ms for row in rows for one, other in pairwise(row))
