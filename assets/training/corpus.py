"""The closed vocabulary and the sentences that the rehearsal Whisper is trained on.

Everything here is text: which words exist, which sentences people say to an assistant, how a word list is written
down as a transcript, and which sentences are held out from training. Words are lower case; `transcript` adds the
capitals and the punctuation that a Whisper transcript has.
"""

from __future__ import annotations

import random
import re
import tomllib
import zlib
from pathlib import Path

_GRAMMAR: dict[str, dict[str, list[str]]] = tomllib.loads(Path(__file__).with_name("grammar.toml").read_text())
SLOTS = _GRAMMAR["slots"]
TEMPLATES = _GRAMMAR["templates"]

UNITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

PROPER = frozenset(SLOTS["name"] + SLOTS["day"] + SLOTS["month"] + SLOTS["city"] + ["i"]) - {"may", "march"}
QUESTION_OPENERS = frozenset(("what", "who", "where", "when", "how", "is", "are", "do", "does", "did", "can", "could", "will", "why"))
HOMOPHONES = frozenset({"to", "for"})  # sound as "two" and "four": only a sentence tells them apart
HELD_OUT_IN = 16  # one sentence of this many is never trained on


def _expand_words(text: str) -> list[str]:
    return re.sub(r"\{[^}]*\}", " ", text).split()


def vocabulary() -> list[str]:
    """All words that the model can hear, sorted."""
    words = {*UNITS, *TEENS, *TENS}
    for options in SLOTS.values():
        for option in options:
            words.update(_expand_words(option))
    for templates in TEMPLATES.values():
        for template in templates:
            words.update(_expand_words(template))
    return sorted(words)


def number_words(value: int) -> str:
    """0..99 as spoken, without a hyphen."""
    if value < 10:
        return UNITS[value]
    if value < 20:
        return TEENS[value - 10]
    tens, units = divmod(value, 10)
    return TENS[tens - 2] + (f" {UNITS[units]}" if units else "")


def fill(template: str, rng: random.Random) -> str:
    """Replace every {slot} of a template by one of its options."""
    while match := re.search(r"\{([a-z]+)\}", template):
        slot = match.group(1)
        number = rng.choice((rng.randrange(13), rng.randrange(100)))
        option = number_words(number) if slot == "n" else rng.choice(SLOTS[slot])
        template = template[: match.start()] + option + template[match.end() :]
    return template


def sentence(rng: random.Random) -> str:
    """One sentence of the grammar: kinds are drawn evenly, then their templates."""
    return fill(rng.choice(TEMPLATES[rng.choice(list(TEMPLATES))]), rng)


def is_held_out(text: str) -> bool:
    """True for the sentences of four or more words that training never uses (a fixed share, by a hash of the text)."""
    return len(text.split()) >= 4 and zlib.crc32(text.encode()) % HELD_OUT_IN == 0


def training_sentence(rng: random.Random) -> str:
    """A grammar sentence that is not held out."""
    while is_held_out(text := sentence(rng)):
        pass
    return text


def held_out_sentences(count: int, seed: int) -> list[str]:
    """`count` different sentences that training never uses."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        if is_held_out(text := sentence(rng)):
            found[text] = None
    return list(found)


class WordString:
    """Words in any order, each as often as any other over time: what keeps the model from guessing by grammar."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._deck: list[str] = []

    def draw(self, count: int) -> str:
        """`count` words from a shuffled deck of the vocabulary."""
        while len(self._deck) < count:
            deck = [word for word in vocabulary() if word not in HOMOPHONES]
            self._rng.shuffle(deck)
            self._deck += deck
        drawn, self._deck = self._deck[:count], self._deck[count:]
        return " ".join(drawn)


def transcript(text: str) -> str:
    """The written form: capitals for the first word and for proper names, then a full stop or a question mark."""
    words = text.split()
    ending = "?" if words[0] in QUESTION_OPENERS and len(words) > 2 else "."
    shown = [word.capitalize() if index == 0 or word in PROPER else word for index, word in enumerate(words)]
    return " ".join(shown) + ending


def normalise(text: str) -> str:
    """Lower case, no punctuation: the form that word errors are counted in."""
    return " ".join(re.sub(r"[^a-z' ]+", " ", text.lower()).split())


def edit_distance(wanted: list[str], heard: list[str]) -> int:
    """Fewest substitutions, deletions and insertions that turn `wanted` into `heard`."""
    row = list(range(len(heard) + 1))
    for index, word in enumerate(wanted, 1):
        diagonal, row[0] = row[0], index
        for column, other in enumerate(heard, 1):
            diagonal, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, diagonal + (word != other))
    return row[-1]
