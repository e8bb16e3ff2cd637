"""What can be said of what a model writes, however it was cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.tts.speakable import Speakable, speakable


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Plain words, as they are.", "Plain words, as they are."),
        ("It is **very** *fine* and __so__ on.", "It is very fine and so on."),
        ("Use `ls -l` there.", "Use ls -l there."),
        ("# A title\n\nAnd text.", "A title\nAnd text."),
        ("* one\n* two\n- three\n", "one\ntwo\nthree"),
        ("1. First\n2) Second", "First\nSecond"),
        ("> A quotation\n> - with a list", "A quotation\nwith a list"),
        ("Before.\n```python\nprint('no')\n```\nAfter.", "Before.\nAfter."),
        ("Before.\n~~~\nno\n~~~\nAfter.", "Before.\nAfter."),
        ("Never closed:\n```\nno", "Never closed:"),
        ("In one line: ```ls```.", "In one line: ls."),
        ("```ls``` is short.", "ls is short."),
        ("A table:\n| a | b |\n|---|---|\n| 1 | 2 |\nDone.", "A table:\nDone."),
        ("See https://example.org/a?b=c. Then go.", "See link. Then go."),
        ("See (https://example.org), please.", "See (link), please."),
        ("Look at www.example.org", "Look at link"),
        ("Read [the page](https://example.org/a_b) now.", "Read the page now."),
        ("![A cat](cat.png) sits.", "A cat sits."),
        ("An array[3] and [brackets].", "An array3 and brackets."),
        ("<think>Hm, let me see.</think>Yes.", "Yes."),
        ("<think>\nHm.\n\n</think>\n\nYes.", "Yes."),
        ("Yes. <THINK>no</THINK> And no.", "Yes. And no."),
        ("<think>never closed", ""),
        ("</think>Yes.", "Yes."),
        ("One<br>two <b>three</b>", "One\ntwo three"),
        ("If a < b and b > c, fine.", "If a < b and b > c, fine."),
        ("Great! 😀👍🏽 Really ❤️.", "Great! Really ."),
        ("It is 21 °C → warm.", "It is 21 °C warm."),
        ("3 * 4 is 12.", "3 times 4 is 12."),
        ("the_snake_case name", "the snake case name"),
        ("One \\* star", "One star"),
        ("above\n---\nbelow", "above\nbelow"),
        ("- - -\nbelow", "below"),
        ("-5 degrees", "-5 degrees"),
        ("3.14 is pi. 10 is ten.", "3.14 is pi. 10 is ten."),
        ("2024 was fine", "2024 was fine"),
        ("hello\tthere   you\r\nall", "hello there you\nall"),
        ("how, who and what", "how, who and what"),
        ("", ""),
        ("   \n ", ""),
    ],
)
def test_markup_is_not_spoken(written: str, said: str) -> None:
    assert speakable(written) == said


MARKUP = st.lists(
    st.sampled_from(
        [
            *" \n.,*_`#>-|[]()<!~\\1a",
            "**",
            "```",
            "```\n",
            "<think>",
            "</think>",
            "https://",
            "http",
            "www.",
            "x.y",
            "hello",
            "Dr. ",
            "😀",
            "~~~",
            "<br>",
        ]
    ),
    max_size=40,
).map("".join)


@given(st.one_of(MARKUP, st.text(max_size=60)), st.lists(st.integers(1, 7), max_size=60))
def test_how_a_reply_is_cut_changes_nothing(written: str, lengths: list[int]) -> None:
    one, said, rest = Speakable(), "", written
    for length in lengths:
        said += one.feed(rest[:length])
        rest = rest[length:]
    said += one.feed(rest) + one.finish()
    assert said == speakable(written)


@given(st.lists(st.from_regex(r"[A-Za-z]{1,8}[,.!?]?", fullmatch=True), min_size=1, max_size=20))
def test_of_plain_words_nothing_is_lost(words: list[str]) -> None:
    assert speakable(" ".join(words)) == " ".join(words)


@given(st.one_of(MARKUP, st.text(max_size=60)))
def test_what_is_said_holds_no_code_fence_and_no_doubled_blank(written: str) -> None:
    said = speakable(written)
    assert "```" not in said
    assert "  " not in said
    assert said == said.strip(" \n")


def test_a_thought_is_hidden_as_it_comes_and_words_are_not_held_back() -> None:
    one = Speakable()
    assert [one.feed(piece) for piece in ("Well", ", <th", "ink>I won", "der</thi", "nk> yes", ".")] == ["Well", ",", "", "", " yes", "."]
