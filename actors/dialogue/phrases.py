"""What is understood without a language model: the phrase that wakes the assistant, and the few others that it knows. Pure.

A wake phrase begins what is said, and the transcriber may have spelt it a little otherwise: "hay spark", "Hey, Sparks". Each of its
words may be off by a quarter of its letters, at least by one, so "hey Mark" is somebody else. The phrase may also be written in more
or fewer words ("heyspark") and is then to be right but for one letter.

The other phrases count when they are all that was said, letter by letter: "stop the timer" is a question for the model.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from enum import Enum

from bus.texts import Phrases

LETTERS_PER_MISTAKE = 4
SHORTEST_WITH_MISTAKES = 3
"""A word of one or two letters is right or another word."""
_WORD = re.compile(r"(?:[^\W_][\u0300-\u036f]*)+(?:['’](?:[^\W_][\u0300-\u036f]*)+)*")
_APOSTROPHES = str.maketrans("", "", "'’")


class Command(Enum):
    """What the speaker wants of the assistant itself."""

    STOP = "stop"
    REPEAT = "repeat"
    YES = "yes"
    NO = "no"


def words_of(text: str) -> list[str]:
    """The words of a text, without case, punctuation and apostrophes."""
    return [word for word, _ in _words(text)]


def command_of(phrases: Phrases, text: str) -> Command | None:
    """The command that is all of this text."""
    said = words_of(text)
    if not said:
        return None
    for command in Command:
        if any(words_of(phrase) == said for phrase in getattr(phrases, command.value)):
            return command
    return None


def after_wake(wake: Iterable[str], text: str) -> str | None:
    """What follows the wake phrase with which this text begins, perhaps nothing; None when it begins with none of them."""
    said = _words(text)
    ends = [end for phrase in wake if (end := _wake_end(words_of(phrase), said))]
    if not ends:
        return None
    rest = text[max(ends) :]
    first = _WORD.search(rest)
    return rest[first.start() :].strip() if first else ""


def _words(text: str) -> list[tuple[str, int]]:
    """The words, each with the place in the text at which it ends."""
    return [(_bare(found[0]), found.end()) for found in _WORD.finditer(text)]


def _bare(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold().translate(_APOSTROPHES)


def _wake_end(phrase: Sequence[str], said: Sequence[tuple[str, int]]) -> int:
    """Where in the text the phrase ends; 0 when the text does not begin with it."""
    words = [word for word, _ in said]
    count = len(phrase)
    if not count or not words:
        return 0
    if len(words) >= count and all(_is_like(wanted, heard) for wanted, heard in zip(phrase, words, strict=False)):
        return said[count - 1][1]
    whole = "".join(phrase)
    for joined in (count - 1, count + 1):
        if 0 < joined <= len(words) and distance("".join(words[:joined]), whole) <= 1:
            return said[joined - 1][1]
    return 0


def _is_like(wanted: str, heard: str) -> bool:
    mistakes = 0 if len(wanted) < SHORTEST_WITH_MISTAKES else max(1, len(wanted) // LETTERS_PER_MISTAKE)
    return abs(len(wanted) - len(heard)) <= mistakes and distance(wanted, heard) <= mistakes


def distance(one: str, other: str) -> int:
    """How many letters have to be put in, left out or changed to make one word of the other (Levenshtein)."""
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, start=1):
        above, row = row, [at]
        for place, against in enumerate(other, start=1):
            row.append(min(above[place] + 1, row[-1] + 1, above[place - 1] + (letter != against)))
    return row[-1]
