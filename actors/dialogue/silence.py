"""When a conversation has fallen silent. Pure: events go in, the time (monotonic ns) is handed in.

A conversation is under way from the first thing that the assistant has said on. When then nobody says anything for the limit, the
assistant asks once whether there is anything else; when it has been silent for as long again, the conversation is over, and the next
one may be asked about anew. Nothing hangs on it: an event that is lost, or a turn manager that dies, costs at most that question, or
has it asked twice.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

SUFFIX: Final = "-silence"
MOST_STREAMS: Final = 100
MOST_OPEN_TURNS: Final = 100


@dataclass
class _Stream:
    open: list[str] = field(default_factory=list)
    """Turns that are not over yet, in the order in which they began."""
    last: str = ""
    """The last turn in which the assistant said something; empty: no conversation is under way."""
    asked: bool = False
    due_ns: int | None = None


class Silence:
    """Watches all streams."""

    def __init__(self, limit_s: float) -> None:
        self._limit_ns = round(limit_s * 1e9)
        self._streams: OrderedDict[str, _Stream] = OrderedDict()

    @property
    def due_ns(self) -> int | None:
        """When `asked_about` is to be called; None: not before another event."""
        return min((one.due_ns for one in self._streams.values() if one.due_ns is not None), default=None)

    def began(self, stream: str, turn: str) -> None:
        """Somebody speaks."""
        one = self._stream(stream)
        one.open = [*one.open, turn][-MOST_OPEN_TURNS:]
        one.due_ns = None

    def ended(self, stream: str, turn: str, now_ns: int, *, spoke: bool = False) -> None:
        """A turn is over, or was none. `spoke`: the assistant said something in it."""
        one = self._stream(stream)
        if turn in one.open:  # turns of one stream end in order, so the end of an earlier one was lost
            one.open = one.open[one.open.index(turn) + 1 :]
        if spoke and not turn.endswith(SUFFIX):
            one.last = turn
        if one.last and not one.open:
            one.due_ns = now_ns + self._limit_ns

    def asked_about(self, now_ns: int) -> list[tuple[str, str]]:
        """The streams that have been silent for long enough, each with the name of the turn that asks about it, which always has the
        same name for the same turn before it."""
        asked = []
        for stream, one in self._streams.items():
            if one.due_ns is None or one.due_ns > now_ns:
                continue
            if one.asked:
                one.last, one.asked, one.due_ns = "", False, None
            else:
                one.asked, one.due_ns = True, now_ns + self._limit_ns
                asked.append((stream, one.last + SUFFIX))
        return asked

    def _stream(self, name: str) -> _Stream:
        one = self._streams.setdefault(name, _Stream())
        self._streams.move_to_end(name)
        if len(self._streams) > MOST_STREAMS:
            self._streams.popitem(last=False)
        return one
