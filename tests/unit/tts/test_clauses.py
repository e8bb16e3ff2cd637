"""How a reply is cut into what is spoken in one go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.tts.clauses import LONGEST_CHARS, Clauses, clauses
from actors.tts.speakable import Speakable, speakable

TEXT = st.lists(
    st.sampled_from(
        [
            "Well",
            "well",
            ",",
            ".",
            "!",
            "?",
            ";",
            " ",
            " ",
            " ",
            "\n",
            "Dr.",
            "e.g.",
            "3.14",
            "No. 5",
            "a",
            '"',
            ")",
            "…",
            "Yes",
            "U.S.",
            "x" * 100,
            "p.m.",
        ]
    ),
    max_size=80,
).map("".join)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("Yes, of course, I can. Do it!", ["Yes, of course,", "I can.", "Do it!"]),
        ("Good morning. It is ten, or eleven. Bye.", ["Good morning.", "It is ten, or eleven.", "Bye."]),
        ("I saw Dr. Smith at 3.15 p.m. today. Then he left.", ["I saw Dr. Smith at 3.15 p.m. today.", "Then he left."]),
        ("It costs 3.50 in the U.S. today. Fine.", ["It costs 3.50 in the U.S. today.", "Fine."]),
        ("Yes. Never. Maybe.", ["Yes. Never.", "Maybe."]),
        ("A title\nAnd text", ["A title", "And text"]),
        ("no end", ["no end"]),
        ("\n\n", []),
        ("", []),
    ],
)
def test_the_first_clause_is_short_and_then_come_sentences(text: str, cut: list[str]) -> None:
    assert clauses(text, "en") == cut


def test_a_sentence_without_end_is_cut_at_a_comma_or_in_the_end_anywhere() -> None:
    with_commas = "One two, " + "three four five, " * 30
    assert all(clause.endswith(",") and len(clause) < LONGEST_CHARS for clause in clauses(with_commas, "en"))
    without = clauses("word " * 200, "en")
    assert len(without) > 1
    assert all(len(clause) <= LONGEST_CHARS + 5 for clause in without)


@given(TEXT, st.lists(st.integers(1, 9), max_size=80))
def test_how_a_text_arrives_changes_nothing(text: str, lengths: list[int]) -> None:
    one, cut, rest = Clauses("en"), [], text
    for length in lengths:
        cut += one.feed(rest[:length])
        rest = rest[length:]
    assert cut + one.feed(rest) + one.finish() == clauses(text, "en")


@given(TEXT)
def test_the_clauses_joined_are_the_text(text: str) -> None:
    cut = clauses(text, "en")
    assert " ".join(" ".join(cut).split()) == " ".join(text.split())
    assert all(cut)


@given(st.text(max_size=200), st.lists(st.integers(1, 9), max_size=80))
def test_from_what_a_model_writes_to_clauses_nothing_is_lost_or_doubled(written: str, lengths: list[int]) -> None:
    reader, one, cut, rest = Speakable(), Clauses("en"), [], written
    for length in lengths:
        cut += one.feed(reader.feed(rest[:length]))
        rest = rest[length:]
    cut += one.feed(reader.feed(rest) + reader.finish()) + one.finish()
    assert " ".join(" ".join(cut).split()) == " ".join(speakable(written).split())


def test_a_clause_is_there_as_soon_as_the_next_word_begins() -> None:
    one = Clauses("en")
    assert [one.feed(piece) for piece in ("Well", ",", " that", " depends", ",", " on", " it", ".", " But")] == [
        [], [], [], [], [], ["Well, that depends,"], [], [], ["on it."]
    ]  # fmt: skip
