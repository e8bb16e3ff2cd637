"""The judge finds what must not happen, and nothing else. On made-up observations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.judge import Finding, Play, Record, Utterance, judge

EXPECTED = [
    Utterance(9_600, "Tell me a joke please.", "Why did the microphone go to school?"),
    Utterance(59_520, "What is two plus three?", "Two plus three is five."),
    Utterance(106_080, "Thank you and goodbye.", "You are welcome."),
]


def record(number: int, *, epoch: str = "b1", moved: int = 0) -> Record:
    utterance = EXPECTED[number]
    return Record(f"p0-{epoch}-{utterance.first_sample + moved}", "answered", utterance.transcript, utterance.reply)


RECORDS = [record(0), record(1), record(2)]
PLAY = Play(stream="p0", expected=EXPECTED, records=RECORDS, shown=[found.turn for found in RECORDS])


def found(play: Play) -> list[tuple[str, int]]:
    return [(finding.what, finding.number) for finding in judge(play)]


def test_a_stream_in_which_all_went_well_has_no_findings() -> None:
    assert judge(PLAY) == []


def test_case_and_punctuation_are_no_words() -> None:
    assert judge(replace(PLAY, records=[replace(RECORDS[0], transcript="tell me a joke, please"), *RECORDS[1:]])) == []


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_utterance_without_a_turn_is_lost(number: int) -> None:
    assert found(replace(PLAY, records=[kept for kept in RECORDS if kept is not RECORDS[number]])) == [("lost", number)]


def test_a_stream_of_which_nothing_came_has_lost_all() -> None:
    assert found(replace(PLAY, records=[])) == [("lost", 0), ("lost", 1), ("lost", 2)]


def test_an_utterance_that_was_given_up_with_a_notice_has_failed_and_is_not_lost() -> None:
    assert found(replace(PLAY, records=RECORDS[:2], parked=frozenset({RECORDS[2].turn}))) == [("failed", 2)]


def test_a_turn_that_ended_with_an_apology_has_failed() -> None:
    apology = replace(RECORDS[1], state="failed", reply="Sorry, something went wrong.")
    assert found(replace(PLAY, records=[RECORDS[0], apology, RECORDS[2]])) == [("failed", 1)]


def test_two_turns_for_one_utterance_are_an_answer_too_many() -> None:
    assert ("twice", 1) in found(replace(PLAY, records=[RECORDS[0], RECORDS[1], record(1, epoch="b2"), RECORDS[2]]))


def test_a_second_turn_with_other_edges_is_an_answer_too_many_as_well() -> None:
    assert ("twice", 1) in found(replace(PLAY, records=[RECORDS[0], RECORDS[1], record(1, moved=960), RECORDS[2]]))


def test_a_turn_that_was_shown_twice_was_answered_twice() -> None:
    assert found(replace(PLAY, shown=[*PLAY.shown, RECORDS[1].turn])) == [("twice", 1)]


def test_other_words_are_wrong() -> None:
    assert found(replace(PLAY, records=[RECORDS[0], replace(RECORDS[1], transcript="What is two plus tree?"), RECORDS[2]])) == [
        ("wrong", 1)
    ]


def test_another_answer_is_wrong() -> None:
    assert found(replace(PLAY, records=[RECORDS[0], replace(RECORDS[1], reply="Two plus three is six."), RECORDS[2]])) == [("wrong", 1)]


def test_an_utterance_that_was_cut_elsewhere_is_wrong() -> None:
    assert found(replace(PLAY, records=[RECORDS[0], record(1, moved=480), RECORDS[2]], shown=[])) == [("wrong", 1)]


def test_turns_that_were_answered_out_of_order_are_told() -> None:
    assert judge(replace(PLAY, records=[RECORDS[1], RECORDS[0], RECORDS[2]])) == [
        Finding("order", "p0", 0, "answered after utterance 1"),
    ]


def test_a_stream_that_was_not_over_in_time_is_stuck() -> None:
    assert found(replace(PLAY, overdue=True)) == [("stuck", -1)]


def test_a_hear_that_gave_up_is_told_with_its_words() -> None:
    assert judge(replace(PLAY, complaint="`hear` ended with 1")) == [Finding("failed", "p0", -1, "`hear` ended with 1")]
