"""Whether words are our own, heard back by the microphone. Pure."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Final

FEWEST_WORDS: Final = 4
"""Fewer are in what anybody says: "Yes.", "Stop.", "the second one". They are never taken for an echo by themselves."""
SHARE: Final = 0.65
"""So many of the words have to be ours, in our order: a transcript of an echo is never quite right."""
FEW_WORDS: Final = 6
SHARE_OF_FEW: Final = 0.8
"""The same of fewer words than that: "My name is Anna" is no "Your name is Anna"."""


def is_echo(heard: str, spoken: str) -> bool:
    """Whether `heard` is a piece of `spoken`. A few words are nobody's."""
    words, ours = _words(heard), _words(spoken)
    if len(words) < FEWEST_WORDS or not ours:
        return False
    blocks = SequenceMatcher(None, ours, words, autojunk=False).get_matching_blocks()
    matching = [block for block in blocks if block.size]
    share = SHARE if len(words) >= FEW_WORDS else SHARE_OF_FEW
    if sum(block.size for block in matching) < share * len(words):
        return False
    # Single words of ours are in whatever people say, far apart; an echo is one stretch.
    stretch = matching[-1].a + matching[-1].size - matching[0].a
    return stretch * SHARE <= len(words) + 1


def may_be_echo(heard: str, spoken: str) -> bool:
    """Whether `heard` is so little that it says nothing, but is a piece of `spoken` word for word: it may become an echo yet."""
    words, ours = _words(heard), _words(spoken)
    places = range(len(ours) - len(words) + 1)
    return 0 < len(words) < FEWEST_WORDS and any(ours[at : at + len(words)] == words for at in places)


def _words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())
