"""Which words count though they are too short for a turn."""

from __future__ import annotations

import pytest

from actors.vad.short_words import ANSWER_WITHIN_NS, ShortWords
from bus.texts import Phrases

NOW = 10**12


def words(*wake: str) -> ShortWords:
    return ShortWords(Phrases(), wake)


def test_nothing_short_is_expected_unless_the_assistant_asks() -> None:
    short = words()
    assert not short.are_expected(NOW)
    short.said("Two plus three is five.", NOW)
    assert not short.are_expected(NOW)
    assert not short.count("Yes.", NOW)


@pytest.mark.parametrize("question", ["Did you say: two plus three?", 'Shall I say "stop?" ', "続けますか？", "Shall I go on?)"])
def test_an_answer_to_its_question_counts_and_other_short_words_do_not(question: str) -> None:
    short = words()
    short.said(question, NOW)
    assert short.are_expected(NOW)
    assert short.count("Yes.", NOW + ANSWER_WITHIN_NS)
    assert short.count("No", NOW)
    assert not short.count("you", NOW)
    assert not short.count("", NOW)


def test_it_counts_once_and_not_for_ever() -> None:
    short = words()
    short.said("Shall I go on?", NOW)
    assert not short.count("Yes.", NOW + ANSWER_WITHIN_NS + 1)
    short.answered()
    assert not short.are_expected(NOW)
    short.said("Shall I go on?", NOW)
    short.said("All right.", NOW)
    assert not short.are_expected(NOW)


def test_the_wake_phrase_counts_at_any_time_and_more_may_follow() -> None:
    short = words("hey spark")
    assert short.are_expected(NOW)
    assert short.count("Hay, spark!", NOW)
    assert short.wake("Hay, spark!")
    assert not short.count("Yes.", NOW)
    assert not short.wake("Yes.")
