from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.echo import FEWEST_WORDS, is_echo
from tests.fakes.audio_instance import settings

SPOKEN = "Your package is on its way. It will be there tomorrow morning, and you can call Peter if it is late."


@pytest.mark.parametrize(
    "heard",
    [
        "Your package is on its way.",
        "it will be there tomorrow",
        "will be there to morrow morning",
        "package is on the way",
        SPOKEN,
    ],
)
def test_what_we_have_said_is_ours_even_if_a_word_is_misheard(heard: str) -> None:
    assert is_echo(heard, SPOKEN)


@pytest.mark.parametrize(
    "heard",
    [
        "",
        "...",
        "stop",
        "Peter",
        "Your package.",
        "Tomorrow morning, Peter.",
        "What is the weather in Paris?",
        "Is it on a bus?",
        "Your way is late",
        "When will it be there?",
        "No, call Anna tomorrow.",
    ],
)
def test_what_somebody_else_says_is_not_even_if_our_words_are_in_it(heard: str) -> None:
    assert not is_echo(heard, SPOKEN)


@given(st.integers(0, 16), st.integers(FEWEST_WORDS, 20))
def test_every_stretch_of_our_words_is_ours(begin: int, length: int) -> None:
    stretch = " ".join(SPOKEN.split()[begin : begin + length])
    assert is_echo(stretch, SPOKEN)


def test_an_answer_to_our_question_with_our_words_is_not_ours() -> None:
    assert not is_echo("My name is Anna.", "Your name is Anna.")
    assert is_echo("Your name is Anna.", "Your name is Anna.")


@pytest.mark.parametrize(
    ("source", "output", "engine", "hears"),
    [
        ("device", "device", "espeak", True),
        ("stdin", "device", "espeak", True),
        ("file", "device", "espeak", False),
        ("none", "device", "espeak", False),
        ("device", "file", "espeak", False),
        ("device", "none", "espeak", False),
        ("device", "device", "none", False),
    ],
)
def test_only_what_comes_from_the_room_of_the_loudspeaker_has_its_voice_in_it(source: str, output: str, engine: str, hears: bool) -> None:
    assert settings(mic={"source": source}, speaker={"output": output}, tts={"engine": engine}).hears_itself is hears


@given(st.text())
def test_without_words_of_ours_nothing_is_ours(heard: str) -> None:
    assert not is_echo(heard, "")
