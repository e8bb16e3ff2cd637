"""What is understood without a language model: which spellings wake the assistant, and which do not."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.dialogue.phrases import Command, after_wake, command_of, distance, words_of
from bus.texts import Phrases
from supervisor.settings import load

WAKE = ("hey spark",)
SENTENCE = st.text(st.characters(codec="utf-8"), max_size=60)
WORDS = st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=8), max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("said", "question"),
    [
        ("Hey Spark, what time is it?", "what time is it?"),
        ("hey spark what time is it", "what time is it"),
        ("Hay Spark, what time is it?", "what time is it?"),
        ("Hey, sparks! What time is it?", "What time is it?"),
        ("Hey, Spark... what's new?", "what's new?"),
        ("HEY SPARK: stop", "stop"),
        ("Heyspark what time is it?", "what time is it?"),
        ("  Hey Spark.", ""),
        ("Hey Spark!", ""),
        ("Hey Spark, ¿qué hora es?", "qué hora es?"),
        ("Hey Spark, hey Spark?", "hey Spark?"),
    ],
)
def test_what_follows_the_wake_phrase_is_the_question(said: str, question: str) -> None:
    assert after_wake(WAKE, said) == question


@pytest.mark.parametrize(
    "said",
    ["", "what time is it", "Hey Mark, what time is it?", "Spark", "Hey", "I said hey spark", "a spark of hope", "hey", "the park is open"],
)
def test_what_does_not_begin_with_the_wake_phrase_is_not_for_us(said: str) -> None:
    assert after_wake(WAKE, said) is None


def test_any_of_several_phrases_wakes_and_the_longest_is_taken_off() -> None:
    assert after_wake(("computer", "hello computer"), "Hello computer, hi.") == "hi."
    assert after_wake(("hello", "hello computer"), "Hello computer, hi.") == "hi."
    assert after_wake(("computer", "hello computer"), "Commuter, hi.") == "hi."


def test_without_a_phrase_nothing_wakes() -> None:
    assert after_wake((), "Hey Spark") is None


def test_a_word_of_one_or_two_letters_is_right_or_another_word() -> None:
    assert after_wake(("ok jo",), "OK Jo, go") == "go"
    assert after_wake(("ok jo",), "OK Joe, go") is None


def test_accents_and_apostrophes_do_not_come_between() -> None:
    assert words_of("C’est l'été, ÇA va ?") == ["cest", "lété", "ça", "va"]
    assert words_of("e\u0301te\u0301") == words_of("été")


@pytest.mark.parametrize(
    ("said", "command"),
    [
        ("Stop.", Command.STOP),
        ("never mind!", Command.STOP),
        ("Say that again?", Command.REPEAT),
        ("Yes.", Command.YES),
        ("That’s right.", Command.YES),
        ("No, thank you.", Command.NO),
        ("Stop the timer.", None),
        ("no way", None),
        ("", None),
        ("...", None),
    ],
)
def test_a_command_is_all_that_was_said(said: str, command: Command | None) -> None:
    assert command_of(Phrases(), said) is command


@pytest.mark.parametrize("language", ["en", "de", "fr", "es"])
def test_every_phrase_of_every_language_is_understood_as_one_command(language: str) -> None:
    phrases = load(environ={"HOME": "/tmp"}).dialogue.phrases[language]
    for command in Command:
        own = getattr(phrases, command.value)
        assert own
        assert [command_of(phrases, phrase.upper() + "!") for phrase in own] == [command] * len(own)


def test_a_phrase_that_is_empty_is_no_command() -> None:
    assert command_of(Phrases(stop=("", "...")), "") is None


@given(SENTENCE, SENTENCE)
def test_any_text_can_be_asked_about(phrase: str, said: str) -> None:
    command_of(Phrases(stop=(phrase,)), said)
    rest = after_wake((phrase,), said)
    assert rest is None or said.endswith(rest) or said.strip().endswith(rest)


@given(WORDS)
def test_a_phrase_in_front_of_a_sentence_is_found_and_taken_off(question: str) -> None:
    assert after_wake(WAKE, f"Hey Spark, {question}") == question


@given(st.text("abc", max_size=6), st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_the_distance_between_words_is_one(one: str, other: str, third: str) -> None:
    assert (distance(one, other) == 0) == (one == other)
    assert distance(one, other) == distance(other, one)
    assert distance(one, third) <= distance(one, other) + distance(other, third)
    assert abs(len(one) - len(other)) <= distance(one, other) <= max(len(one), len(other))
