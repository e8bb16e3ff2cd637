"""Whether words are our own, heard back by the microphone. Pure."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Final

SHARE: Final = 0.65
"""So many of the words have to be ours, in our order: a transcript of an echo is never quite right."""


def is_echo(heard: str, spoken: str) -> bool:
    """Whether `heard` is a piece of `spoken`. No words are nobody's."""
    words, ours = _words(heard), _words(spoken)
    if not words or not ours:
        return False
    blocks = SequenceMatcher(None, ours, words, autojunk=False).get_matching_blocks()
    matching = [block for block in blocks if block.size]
    if sum(block.size for block in matching) < SHARE * len(words):
        return False
    # Single words of ours are in whatever people say, far apart; an echo is one stretch.
    stretch = matching[-1].a + matching[-1].size - matching[0].a
    return stretch * SHARE <= len(words) + 1


def _words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())
