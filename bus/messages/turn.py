"""The turn as a whole."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from bus.limits import MAX_SHOWN_REASON
from bus.messages.base import Body, Count, Line, Name, Nanoseconds, Text

MAX_PAST_ATTEMPTS = 64
"""A turn tells of the last so many: a notice to the user is tried for ever."""
Milliseconds = Annotated[float, Meta(ge=0.0, le=1e13)]
LostReason = Annotated[str, Meta(max_length=MAX_SHOWN_REASON)]


class Round(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One exchange of the conversation, as context for the next."""

    user: Text
    assistant: Text


class LastTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The turn before this one in its stream."""

    state: Name
    """As in `TurnRecord`."""
    transcript: Text
    spoke: bool
    """Whether the assistant said something."""
    quiet_ms: Milliseconds
    """From its end to the beginning of the speech that came after it."""


class PastAttempt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who had a job of the turn, and for how long. Times count from the turn's first mark, as its parts do."""

    stage: Name
    worker: Name
    """The name of the actor."""
    number: Count
    """Counts from 1 within the job."""
    begin_ms: Milliseconds
    end_ms: Milliseconds
    lost: LostReason = ""
    """Why it came to nothing; empty: its result was taken."""


class TurnRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A turn that is over, as it is remembered."""

    turn: Name
    stream: Name
    role: Line
    state: Name
    """`answered`; `handled` (without the language model); `empty` (nothing was understood; the reply asks again); `confirming` (the reply
    asks whether these doubtful words were said); `ignored` (not said to the assistant; without words, and not in the store); `failed`;
    or `unanswered` (the assistant was not running, and when it was started again it was too late to answer)."""
    transcript: Text
    reply: Text
    wall_ns: Nanoseconds
    """When the turn was over."""
    timings_ms: Annotated[dict[Name, Milliseconds], Meta(max_length=64)]
    """See `bus.timings`: where the time went, from the true end of speech."""
    detail: Line = ""
    """Why a turn failed or was ignored, what the reply was cut by, or what was handled."""
    attempts: Annotated[list[PastAttempt], Meta(max_length=MAX_PAST_ATTEMPTS)] = []
    """In the order in which they ended."""


class TurnFinished(Body, frozen=True, kw_only=True):
    """The turn is over, and in the memory store if it is one to be kept."""

    topic: ClassVar[str] = "turn.finished"
    words: ClassVar[frozenset[str]] = frozenset({"transcript", "reply"})
    record: TurnRecord
    late: bool = False
    """It had been given up and told as failed; the user had it tried again."""


class TurnsLeft(Body, frozen=True, kw_only=True):
    """Turns of an earlier run were too old to be answered: they are remembered as `unanswered`. Told once, at the start."""

    topic: ClassVar[str] = "turn.left"
    number: int
    since_wall_ns: int
    """When the oldest of them was spoken, nanoseconds since 1970."""
