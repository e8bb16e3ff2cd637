from __future__ import annotations

import pytest

from actors.dialogue.own_voice import LATER_NS, MAX_ANSWERS, OwnVoice

S = 1_000_000_000
TEXT = "Two plus three is five."


@pytest.fixture
def voice() -> OwnVoice:
    voice = OwnVoice()
    voice.begins("t1", 10 * S)
    voice.says("t1", TEXT, 12 * S)
    voice.ends("t1", 12 * S)
    return voice


@pytest.mark.parametrize("at_ns", [10 * S, 11 * S, 12 * S, 12 * S + LATER_NS])
def test_its_own_words_spoken_while_it_spoke_are_its_own(voice: OwnVoice, at_ns: int) -> None:
    assert voice.is_own("plus three is five", at_ns - S, at_ns)


@pytest.mark.parametrize("at_ns", [10 * S - 1, 12 * S + LATER_NS + 1])
def test_the_same_words_at_another_time_are_somebody_elses(voice: OwnVoice, at_ns: int) -> None:
    assert not voice.is_own("plus three is five", at_ns - S, at_ns)


def test_other_words_into_an_answer_are_somebody_elses(voice: OwnVoice) -> None:
    assert not voice.is_own("Stop it, please, now.", 10 * S, 11 * S)


def test_an_answer_that_is_still_heard_has_no_end(voice: OwnVoice) -> None:
    voice.begins("t2", 20 * S)
    voice.says("t2", TEXT, 22 * S)
    assert voice.is_own("Two plus three is", 21 * S, 90 * S)


def test_shorter_news_do_not_take_words_back(voice: OwnVoice) -> None:
    voice.says("t1", "Two", 12 * S)
    assert voice.is_own("plus three is five", 10 * S, 11 * S)


def test_only_the_last_answers_are_kept(voice: OwnVoice) -> None:
    for number in range(MAX_ANSWERS):
        voice.begins(f"later-{number}", 20 * S)
    assert not voice.is_own("plus three is five", 10 * S, 11 * S)
    voice.ends("t1", 13 * S)
    voice.says("t1", TEXT, 13 * S)


def test_only_the_clauses_that_sounded_meanwhile_are_compared() -> None:
    voice = OwnVoice()
    voice.begins("t1", 10 * S)
    for at_s, text in ((12, TEXT), (20, f"{TEXT} Take the bus to town."), (30, f"{TEXT} Take the bus to town. Then walk a mile north.")):
        voice.says("t1", text, at_s * S)
    assert voice.is_own("Take the bus to town.", 18 * S, 19 * S)
    assert voice.is_own("Then walk a mile north.", 28 * S, 29 * S)
    assert not voice.is_own(TEXT, 18 * S, 19 * S)
    assert not voice.is_own("Then walk a mile north.", 18 * S, 19 * S)


def test_a_successor_that_missed_the_beginning_knows_the_words_too() -> None:
    voice = OwnVoice()
    voice.goes_on("t1", 10 * S)
    voice.says("t1", TEXT, 12 * S)
    voice.goes_on("t1", 11 * S)
    assert voice.is_own(TEXT, 10 * S, 11 * S)
