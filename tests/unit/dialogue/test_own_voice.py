from __future__ import annotations

import pytest

from actors.dialogue.own_voice import LATER_NS, MAX_ANSWERS, OwnVoice

S = 1_000_000_000
TEXT = "Two plus three is five."


@pytest.fixture
def voice() -> OwnVoice:
    voice = OwnVoice()
    voice.begins("t1", 10 * S)
    voice.says("t1", TEXT)
    voice.ends("t1", 12 * S)
    return voice


@pytest.mark.parametrize("at_ns", [10 * S, 11 * S, 12 * S, 12 * S + LATER_NS])
def test_its_own_words_spoken_while_it_spoke_are_its_own(voice: OwnVoice, at_ns: int) -> None:
    assert voice.is_own("plus three is five", at_ns)


@pytest.mark.parametrize("at_ns", [10 * S - 1, 12 * S + LATER_NS + 1])
def test_the_same_words_at_another_time_are_somebody_elses(voice: OwnVoice, at_ns: int) -> None:
    assert not voice.is_own("plus three is five", at_ns)


def test_other_words_into_an_answer_are_somebody_elses(voice: OwnVoice) -> None:
    assert not voice.is_own("Stop it, please.", 11 * S)


def test_an_answer_that_is_still_heard_has_no_end(voice: OwnVoice) -> None:
    voice.begins("t2", 20 * S)
    voice.says("t2", TEXT)
    assert voice.is_own("Two plus three", 90 * S)


def test_shorter_news_do_not_take_words_back(voice: OwnVoice) -> None:
    voice.says("t1", "Two")
    assert voice.is_own("three is five", 11 * S)


def test_only_the_last_answers_are_kept(voice: OwnVoice) -> None:
    for number in range(MAX_ANSWERS):
        voice.begins(f"later-{number}", 20 * S)
    assert not voice.is_own("three is five", 11 * S)
    voice.ends("t1", 13 * S)
    voice.says("t1", TEXT)
