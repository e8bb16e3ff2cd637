"""What all messages share: the envelope, the base class of bodies, and the table from topic to type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from bus.limits import (
    FRAME_SAMPLES,
    MAX_AUDIO_MS,
    MAX_COUNT,
    MAX_DEADLINE_MS,
    MAX_KEY_CHARS,
    MAX_LINE_CHARS,
    MAX_NAME_CHARS,
    MAX_REASON_CHARS,
    MAX_TEXT_CHARS,
)

# What a field may hold, so that nonsense is a WireError at the border and no handler has to think of it.
Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
Key = Annotated[str, Meta(max_length=MAX_KEY_CHARS)]
PlainName = Annotated[str, Meta(max_length=MAX_NAME_CHARS, pattern=r"^[^\x00-\x1f\x7f-\x9f/]*\Z")]
"""Without control characters, for terminals show it, and without the slash that separates the parts of a key. Not every name is
checked so: the pattern costs more than the rest of the message."""
Reason = Annotated[str, Meta(max_length=MAX_REASON_CHARS)]
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]
Line = Annotated[str, Meta(max_length=MAX_LINE_CHARS)]
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Nanoseconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]
DeadlineMs = Annotated[int, Meta(ge=0, le=MAX_DEADLINE_MS)]
AudioMs = Annotated[int, Meta(ge=0, le=MAX_AUDIO_MS)]
FrameStart = Annotated[int, Meta(ge=0, le=MAX_COUNT, multiple_of=FRAME_SAMPLES)]
"""A sample at which a frame begins or, one past its last sample, ends."""

_TYPES: dict[str, type[Body]] = {}


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all message bodies. A subclass names its topic and is found by it when a message arrives."""

    topic: ClassVar[str] = ""
    words: ClassVar[frozenset[str]] = frozenset()
    """Names of the fields, at any depth, that hold what was said."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.topic:
            known = _TYPES.setdefault(cls.topic, cls)
            assert known.__qualname__ == cls.__qualname__, f"two types for the topic {cls.topic}"
            _TYPES[cls.topic] = cls


def body_type(topic: str) -> type[Body] | None:
    """The type of the bodies sent under `topic`, or None."""
    return _TYPES.get(topic)


def body_types() -> dict[str, type[Body]]:
    """All message types by topic."""
    return dict(_TYPES)


class Envelope(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True):
    """Who sent a message, when, and about what. Packed as an array: its order is part of the wire."""

    version: int
    sender: Name
    """Name of the actor, for example `whisper-1`."""
    incarnation: Name
    """Which life of that actor: a restarted actor has a new one."""
    seq: Count
    """Counts from 0 per sender, incarnation and topic, so that a subscriber of some topics sees its own gaps."""
    mono_ns: Nanoseconds
    """CLOCK_MONOTONIC of the sender's machine."""
    wall_ns: Nanoseconds
    """Nanoseconds since 1970."""
    turn: Name = ""
    """Which turn this is about, or empty."""
    stream: Name = ""
    """Which audio stream this is about, or empty."""


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded and checked message."""

    topic: str
    envelope: Envelope
    body: Body
    payload: bytes | None = None
    """Raw bytes beside the message: PCM, never packed into msgpack."""

    @property
    def id(self) -> str:
        """Unique name of this message; derived, so it takes no room on the wire."""
        envelope = self.envelope
        return f"{envelope.sender}/{envelope.incarnation}/{self.topic}/{envelope.seq}"
