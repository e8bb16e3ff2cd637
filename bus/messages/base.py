"""What all messages share: the envelope, the base class of bodies, and the table from topic to type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

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
    sender: str
    """Name of the actor, for example `whisper-1`."""
    incarnation: str
    """Which life of that actor: a restarted actor has a new one."""
    seq: int
    """Counts from 0 per sender, incarnation and topic, so that a subscriber of some topics sees its own gaps."""
    mono_ns: int
    """CLOCK_MONOTONIC of the sender's machine."""
    wall_ns: int
    """Nanoseconds since 1970."""
    turn: str = ""
    """Which turn this is about, or empty."""
    stream: str = ""
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
