"""When the last turn of each stream was over, on the monotonic clock: what came how soon after it does not hang on the clock that
people set. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from bus.messages.turn import TurnRecord

MOST_STREAMS: Final = 100


class Ends:
    """Of the turns that were remembered in this life of the process; of earlier ones the wall clock is asked."""

    def __init__(self) -> None:
        self._ends: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def add(self, record: TurnRecord, mono_ns: int) -> None:
        """This turn is over now."""
        self._ends[record.stream] = (record.turn, mono_ns)
        self._ends.move_to_end(record.stream)
        if len(self._ends) > MOST_STREAMS:
            self._ends.popitem(last=False)

    def of(self, record: TurnRecord, mono_ns: int, wall_ns: int) -> int:
        """When this turn was over, monotonic ns; the two times given are now."""
        turn, end_ns = self._ends.get(record.stream, ("", 0))
        return end_ns if turn == record.turn else mono_ns - (wall_ns - record.wall_ns)
