"""Spoken numbers to integers and back. Pure."""

import re

SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
MAX_SPOKEN = 999_999

_UNITS = {word: value for value, word in enumerate(SMALL)}
_TENS = {word: 20 + 10 * index for index, word in enumerate(TENS)}
_WORDS = "|".join([*SMALL, *TENS, "hundred", "thousand"])

PATTERN = rf"(?:\d{{1,6}}|(?:{_WORDS})(?:[ -](?:and )?(?:{_WORDS}))*)"
"""A regular expression for one number, in figures or in words, in lower case."""


def parse(text: str) -> int | None:
    """`"twenty one"`, `"one hundred and five"` or `"42"` as an integer; None where the words make no number ("two five")."""
    if text.isdigit():
        return int(text)
    total, group = 0, 0
    room = 1000  # the next word must be smaller than this: keeps "two five" from being seven
    for word in re.split(r"[ -]+", text):
        if word == "and":
            continue
        if word in ("hundred", "thousand"):
            scale = 100 if word == "hundred" else 1000
            if not group or group >= scale:
                return None
            total, group, room = (total, group * 100, 100) if scale == 100 else (total + group * 1000, 0, 1000)
            continue
        value = _UNITS.get(word, _TENS.get(word))
        if value is None or value >= room:
            return None
        group, room = group + value, 10 if value >= 20 else 0
    return total + group


def spoken(value: int) -> str:
    """An integer as it is said; in figures beyond MAX_SPOKEN."""
    if value < 0:
        return f"minus {spoken(-value)}"
    if value > MAX_SPOKEN:
        return str(value)
    if value < 20:
        return SMALL[value]
    if value < 100:
        tens, units = divmod(value, 10)
        return TENS[tens - 2] + (f" {SMALL[units]}" if units else "")
    scale, name, joint = (100, "hundred", " and ") if value < 1000 else (1000, "thousand", " ")
    many, rest = divmod(value, scale)
    return f"{spoken(many)} {name}" + (f"{joint if rest >= 100 or scale == 100 else ' and '}{spoken(rest)}" if rest else "")
