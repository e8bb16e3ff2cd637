from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.echo import is_echo

SPOKEN = "Your package is on its way. It will be there tomorrow morning, and you can call Peter if it is late."


@pytest.mark.parametrize(
    "heard",
    [
        "Your package is on its way.",
        "it will be there tomorrow",
        "will be there to morrow morning",
        "package is on the way",
        "Peter",
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
        "What is the weather in Paris?",
        "Is it on a bus?",
        "Your way is late",
        "When will it be there?",
        "No, call Anna tomorrow.",
    ],
)
def test_what_somebody_else_says_is_not_even_if_our_words_are_in_it(heard: str) -> None:
    assert not is_echo(heard, SPOKEN)


@given(st.integers(0, 20), st.integers(1, 20))
def test_every_stretch_of_our_words_is_ours(begin: int, length: int) -> None:
    stretch = " ".join(SPOKEN.split()[begin : begin + length])
    assert is_echo(stretch, SPOKEN) == bool(stretch)


@given(st.text())
def test_without_words_of_ours_nothing_is_ours(heard: str) -> None:
    assert not is_echo(heard, "")
