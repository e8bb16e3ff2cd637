"""Where the first clause of a reply ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.llm.clauses import first_clause, first_clause_piece


@pytest.mark.parametrize(
    ("reply", "clause"),
    [
        ("Nice to meet you, Anna.", "Nice to meet you,"),
        ("Two plus three is five.", "Two plus three is five."),
        ("It is noon. Time to eat.", "It is noon."),
        ("Pi is 3.14, roughly.", "Pi is 3.14,"),
        ("Yes, I can. Where?", "Yes, I can."),
        ("Really?! Well: no.", "Really?! Well:"),
        ("She said “come in.” Then she left.", "She said “come in.”"),
        ("no end in sight", "no end in sight"),
    ],
)
def test_the_first_clause_ends_with_the_first_mark_that_has_words_before_and_space_behind_it(reply: str, clause: str) -> None:
    assert first_clause(reply) == clause


def test_the_piece_that_ends_the_first_clause_is_the_one_with_its_mark() -> None:
    assert first_clause_piece(["Nice", " to", " meet", " you", ",", " Anna", "."]) == 4
    assert first_clause_piece(["Nice to meet you, Anna. How", " are you?"]) == 0
    assert first_clause_piece(["Hello", " there", " \n", " "]) == 1


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=20).filter(lambda pieces: "".join(pieces).strip()))
def test_there_is_always_such_a_piece_and_no_earlier_one_holds_the_clause(pieces: list[str]) -> None:
    last = first_clause_piece(pieces)
    clause = first_clause("".join(pieces).rstrip())
    assert "".join(pieces[: last + 1]).startswith(clause)
    assert not "".join(pieces[:last]).startswith(clause)
