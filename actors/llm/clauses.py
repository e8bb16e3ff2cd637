"""Where the first clause of a reply ends. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

MIN_WORDS: Final = 2
""""Yes," alone is no clause: what is spoken apart from the rest should sound like something said."""
_END: Final = re.compile(r"""[.,;:!?…]+["'”’)]*(?=\s)""")  # blank space behind it: "3.14" and "10:30" go on


def first_clause(text: str) -> str:
    """The beginning of `text` up to the first mark that ends a sentence or a part of one; all of it where there is none."""
    for end in _END.finditer(text):
        clause = text[: end.end()]
        if len(clause.split()) >= MIN_WORDS:
            return clause
    return text


def first_clause_piece(pieces: Sequence[str]) -> int:
    """Which of the pieces of a reply (at least one) ends its first clause."""
    length = len(first_clause("".join(pieces).rstrip()))
    return next(number for number, reached in enumerate(accumulate(map(len, pieces))) if reached >= length)
