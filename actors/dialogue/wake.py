"""Who was woken by a detector of wake words (`wake.heard`), and until when. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MOST_STREAMS: Final = 100


class Woken:
    """For each stream, when its wake word was heard last. All times are monotonic ns."""

    def __init__(self, follow_up_ms: float) -> None:
        self._follow_up_ns = round(follow_up_ms * 1e6)
        self._heard_ns: OrderedDict[str, int] = OrderedDict()

    def heard(self, stream: str, now_ns: int) -> None:
        """The wake word was spoken in this stream."""
        self._heard_ns[stream] = now_ns
        self._heard_ns.move_to_end(stream)
        if len(self._heard_ns) > MOST_STREAMS:
            self._heard_ns.popitem(last=False)

    def is_addressed(self, stream: str, begin_ns: int, end_ns: int) -> bool:
        """Whether speech of that time is for the assistant: it went on behind the wake word, or followed it soon enough."""
        heard_ns = self._heard_ns.get(stream)
        return heard_ns is not None and end_ns >= heard_ns and begin_ns <= heard_ns + self._follow_up_ns
