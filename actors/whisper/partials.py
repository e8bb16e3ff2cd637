"""Words of somebody who still speaks: what two hearings in a row agree on is confirmed and does not change any more. Pure.

The rule is LocalAgreement-2 (Liu et al., "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis
Selection", Interspeech 2020). The last word of a hearing is never confirmed: its end may not have been spoken yet.
"""

from __future__ import annotations

import re
from itertools import takewhile


def stabilised(confirmed: str, before: str, now: str) -> tuple[str, int]:
    """Lay a new hearing on what was confirmed and on the hearing before it: return the text to show, and how many of its first
    characters are confirmed from now on."""
    sure, old, new = confirmed.split(), before.split(), now.split()
    agreed = list(takewhile(lambda pair: _bare(pair[0]) == _bare(pair[1]), zip(old, new[:-1], strict=False)))
    words = sure + new[len(sure) :]
    number = max(len(sure), min(len(agreed), len(words)))
    return " ".join(words), len(" ".join(words[:number]))


def _bare(word: str) -> str:
    return re.sub(r"\W", "", word).lower()
