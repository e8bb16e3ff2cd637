from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.whisper.partials import stabilised

WORDS = st.lists(st.sampled_from(["turn", "on", "the", "light", "lights", "in", "a"]), max_size=8).map(" ".join)


@pytest.mark.parametrize(
    ("confirmed", "before", "now", "text", "sure"),
    [
        ("", "", "Turn on", "Turn on", ""),
        ("", "Turn on", "Turn on the", "Turn on the", "Turn on"),
        ("", "Turn on.", "turn on the", "turn on the", "turn on"),
        ("Turn on", "Turn on the", "Turn on the light", "Turn on the light", "Turn on the"),
        ("Turn on", "Turn on the", "Turn of a light", "Turn on a light", "Turn on"),
        ("Turn on", "Turn on", "", "Turn on", "Turn on"),
        ("", "the light", "the light", "the light", "the"),
    ],
)
def test_what_two_hearings_agree_on_is_confirmed(confirmed: str, before: str, now: str, text: str, sure: str) -> None:
    shown, characters = stabilised(confirmed, before, now)
    assert (shown, shown[:characters]) == (text, sure)


@given(st.lists(WORDS, max_size=10))
def test_a_word_once_confirmed_does_not_change(hearings: list[str]) -> None:
    confirmed, before = "", ""
    for now in hearings:
        shown, characters = stabilised(confirmed, before, now)
        assert shown[:characters].split()[: len(confirmed.split())] == confirmed.split()
        assert not characters or shown[characters : characters + 1] in ("", " ")
        confirmed, before = shown[:characters], shown
