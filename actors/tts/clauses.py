"""Speakable text cut into clauses: what is made into sound in one go. Pure.

The first clause is short, so that the voice begins early: it ends at the first comma, as `actors.llm.clauses` counts it. Then come whole
sentences, for they sound best; only a very long one is cut at a comma, or in the end at any blank. Where a sentence ends, and that "Dr."
ends none, is known by `sentencex`, which knows that of many languages.

A text is cut the same however it arrived, so a successor of a voice that died knows from a clause's number which words it has.
"""

from __future__ import annotations

import re
from typing import Final

import sentencex

from actors.llm.clauses import MIN_WORDS

LONG_CHARS: Final = 160
"""A clause that is longer may end at a comma."""
LONGEST_CHARS: Final = 240
"""And from here on at any blank; some 15 s of speech."""
_BLANK: Final = re.compile(r"\s+")
_PART: Final = re.compile(r"""[,;:…—–]["'”’)\]]*\Z""")
_SENTENCE: Final = re.compile(r"""[.!?…。！？]["'”’)\]]*\Z""")


class Clauses:
    """Cuts one reply. Its clauses joined with a blank are the text that it was fed, blank space aside."""

    def __init__(self, language: str) -> None:
        """`language`: an ISO code."""
        self._language = language or "en"
        self._rest = ""
        self._looked = 0  # no clause of the rest ends before this
        self._is_first = True

    def feed(self, text: str) -> list[str]:
        """Take more text; return the clauses that are complete."""
        self._rest += text
        return list(self._cut(final=False))

    def finish(self) -> list[str]:
        """The text is complete; return what is left of it."""
        clauses = list(self._cut(final=True))
        last, self._rest = self._rest.strip(), ""
        return [*clauses, *([last] if last else [])]

    def _cut(self, *, final: bool) -> list[str]:
        found: list[str] = []
        while (end := self._end(final=final)) is not None:
            clause, self._rest, self._looked = self._rest[:end].strip(), self._rest[end:], 0
            if clause:
                found.append(clause)
                self._is_first = False
        return found

    def _end(self, *, final: bool) -> int | None:
        """The first place at which a clause ends for certain; None: none is known yet."""
        begin = len(self._rest) - len(self._rest.lstrip())
        for blank in _BLANK.finditer(self._rest, max(begin, self._looked)):
            if blank.end() == len(self._rest) and "\n" not in blank[0] and not final:
                return None  # the next word has a say in it
            if self._ends_here(self._rest[begin : blank.start()], blank[0], self._rest[blank.end() : blank.end() + 1]):
                return blank.end()
            self._looked = blank.start() + 1
        return None

    def _ends_here(self, clause: str, blank: str, after: str) -> bool:
        """Whether `clause` is one, followed by blank space and the character `after`."""
        if "\n" in blank or len(clause) >= LONGEST_CHARS:
            return True
        may_be_part = len(clause) >= LONG_CHARS or (self._is_first and len(clause.split()) >= MIN_WORDS)
        if may_be_part and _PART.search(clause):
            return True
        return (
            bool(_SENTENCE.search(clause))
            and (not self._is_first or len(clause.split()) >= MIN_WORDS)
            and self._ends_sentence(clause, after)
        )

    def _ends_sentence(self, clause: str, after: str) -> bool:
        parts = list(sentencex.segment(self._language, f"{clause} {after}"))
        return len(parts) > 1 and parts[-1].strip() == after


def clauses(text: str, language: str) -> list[str]:
    """The clauses of a whole text."""
    one = Clauses(language)
    return one.feed(text) + one.finish()
