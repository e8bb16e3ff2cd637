"""A lease of an `answer` job as the main loop knows it: what of it may be told, and what was told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actors.llm.gate import Gate
from bus.messages.reply import ReplyDiscarded
from bus.timings import FIRST_SHOWN

if TYPE_CHECKING:
    from actors.llm.engine import Reply
    from bus.jobs import Lease
    from bus.messages.voice import VoiceCut


@dataclass(eq=False)
class Question:
    """What is answered now. Ahead of time nothing of it leaves the actor: events and the end of the lease go through the gate."""

    lease: Lease
    begun_ns: int
    early: bool = field(init=False)
    """It was begun ahead of time, and may be wanted by now."""
    gate: Gate = field(init=False)
    pieces: int = 0
    """Of the reply, received so far."""
    shown_ns: int | None = None
    """When the first piece was told to all, monotonic."""
    reply: Reply | None = None
    """The request that is under way."""
    interrupted: bool = False
    """The user has heard enough of it."""

    def __post_init__(self) -> None:
        self.early = bool(self.lease.ahead)
        self.gate = Gate(is_open=not self.early)

    def is_cut_by(self, turn: str, cut: VoiceCut) -> bool:
        """Whether its user has heard enough of it: he spoke into this answer, of which something was told. One that falls silent for
        another reason is still shown and remembered whole."""
        is_ours = (turn, cut.attempt) == (self.lease.job.turn, self.lease.reply_number)
        return is_ours and cut.cause == "user" and self.shown_ns is not None and not self.lease.ended

    def marks(self) -> dict[str, int]:
        """What an answer that was begun ahead of time adds to its marks."""
        return {FIRST_SHOWN: self.shown_ns} if self.early and self.shown_ns is not None else {}

    def discarded(self, now_ns: int) -> ReplyDiscarded:
        """What it has cost in vain."""
        return ReplyDiscarded(tokens=self.pieces, ms=max(0, now_ns - self.begun_ns) / 1e6)
