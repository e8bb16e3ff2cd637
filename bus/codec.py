"""One way to pack a message and one strict way to unpack it. Knows no sockets.

On the wire a message is two or three frames: topic · head · optional payload. The head is a msgpack array of the envelope
and the body. See docs/protocol.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache

import msgspec

from bus.clock import Clock, SystemClock
from bus.errors import WireError
from bus.limits import (
    MAX_FRAMES,
    MAX_HEAD_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_TOPIC_BYTES,
    SCHEMA_VERSION,
)
from bus.messages.base import Body, Envelope, Message, body_type

_ENCODER = msgspec.msgpack.Encoder()
MAX_COMPLAINT_CHARS = 200
_LARGEST = (("topic", MAX_TOPIC_BYTES), ("head", MAX_HEAD_BYTES), ("payload", MAX_PAYLOAD_BYTES))


class Stamp:
    """Packs the messages of one sender: fills in the envelope and counts."""

    def __init__(self, sender: str, incarnation: str, clock: Clock | None = None) -> None:
        self.sender = sender
        self.incarnation = incarnation
        self._clock = clock or SystemClock()
        self._sent: Counter[str] = Counter()

    def pack(self, body: Body, *, turn: str = "", stream: str = "", payload: bytes | None = None, key: str = "") -> list[bytes]:
        """Return the frames of `body`. `key` narrows the topic of the first frame: a probe is sent to its nonce alone."""
        topic = body.topic
        envelope = Envelope(
            version=SCHEMA_VERSION,
            sender=self.sender,
            incarnation=self.incarnation,
            seq=self._sent[topic],
            mono_ns=self._clock.monotonic_ns(),
            wall_ns=self._clock.wall_ns(),
            turn=turn,
            stream=stream,
        )
        self._sent[topic] += 1
        return encode(body, envelope, payload, key)


def encode(body: Body, envelope: Envelope, payload: bytes | None = None, key: str = "") -> list[bytes]:
    """Pack one message. Raise WireError when it passes a limit, so that nothing oversized ever leaves."""
    try:
        head = _ENCODER.encode((envelope, body))
    except (OverflowError, UnicodeEncodeError) as error:
        raise WireError(f"{body.topic}: {error}") from None
    topic = f"{body.topic}/{key}" if key else body.topic
    frames = [topic.encode(), head] if payload is None else [topic.encode(), head, payload]
    _check_sizes(frames)
    return frames


def check(body: Body) -> None:
    """Raise WireError when whoever receives this body will refuse it."""
    nobody = Envelope(version=SCHEMA_VERSION, sender="", incarnation="", seq=0, mono_ns=0, wall_ns=0)
    decode(encode(body, nobody))


def decode(frames: Sequence[bytes]) -> Message:
    """Unpack and check one message. Raise WireError for anything that does not follow the protocol."""
    _check_sizes(frames)
    try:
        topic, _, _ = frames[0].decode("ascii").partition("/")
    except UnicodeDecodeError:
        raise WireError("topic is not ASCII") from None
    kind = body_type(topic)
    if kind is None:
        raise WireError(f"unknown topic {topic!r}")
    try:
        envelope, body = _decoder(kind).decode(frames[1])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"{topic}: {_what_is_wrong(frames[1], error)}") from None
    if envelope.version != SCHEMA_VERSION:
        raise WireError(f"{topic}: {_other_version(envelope.version)}")
    return Message(topic, envelope, body, bytes(frames[2]) if len(frames) > 2 else None)


@cache
def _decoder(kind: type[Body]) -> msgspec.msgpack.Decoder[tuple[Envelope, Body]]:
    return msgspec.msgpack.Decoder(tuple[Envelope, kind])  # type: ignore[valid-type]


class _Versioned(msgspec.Struct, array_like=True):
    """As much of an envelope as all versions have."""

    version: int


_VERSION = msgspec.msgpack.Decoder(tuple[_Versioned, msgspec.Raw])


def _what_is_wrong(head: bytes, error: Exception) -> str:
    """Another version of the protocol has other fields too: it is the version that the user wants to hear of."""
    try:
        version = _VERSION.decode(head)[0].version
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        version = SCHEMA_VERSION
    if version != SCHEMA_VERSION:
        return _other_version(version)
    if isinstance(error, msgspec.ValidationError):
        return str(error)[:MAX_COMPLAINT_CHARS]  # it quotes what the peer sent
    return f"head is not msgpack ({type(error).__name__})"


def _other_version(version: int) -> str:
    return f"schema version {version}, this program speaks {SCHEMA_VERSION}"


def _check_sizes(frames: Sequence[bytes]) -> None:
    if not 2 <= len(frames) <= MAX_FRAMES:
        raise WireError(f"{len(frames)} frames where 2 or 3 belong")
    for frame, (name, limit) in zip(frames, _LARGEST, strict=False):
        if len(frame) > limit:
            raise WireError(f"{name} of {len(frame)} bytes, at most {limit} allowed")


class Errors:
    """Counts bad messages by kind and says when one is the first of its kind, so that logs stay short. How many there were in all
    is counted in `bus.losses`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, error: WireError) -> bool:
        """Count one; return whether this kind is new."""
        kind = str(error).partition(":")[0][:80]
        if len(self.counts) >= 100 and kind not in self.counts:
            kind = "other"
        self.counts[kind] += 1
        return self.counts[kind] == 1
