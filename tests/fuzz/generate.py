"""Messages from a seed: valid ones, hostile ones that are valid, and ones that are bad in a known way. Pure."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect as mi
from msgspec.msgpack import Ext

from bus.codec import decode
from bus.errors import WireError
from bus.limits import MAX_FRAMES, MAX_HEAD_BYTES, MAX_TOPIC_BYTES, SCHEMA_VERSION
from bus.messages import body_types
from bus.messages.base import Body, Envelope

NAMES = (
    "mic",
    "vad",
    "whisper-1",
    "dialogue",
    "llm",
    "memory",
    "broker",
    "dispatcher",
    "launcher",
    "ghost",
    "",
    "é" * 64,
    "\x1b[2J",
    "a\0b",
)
TEXTS = (*NAMES, "x" * 64, "../../etc/passwd", "'; DROP TABLE jobs; --", "\u202e", "{}", "fuzz/transcribe/0", "Z" * 200, "w" * 10_000)
INTEGERS = (0, 1, 7, 480, 4800, -1, 2**31, 2**53, 2**53 + 1, 2**62, 2**63 - 1, 2**64 - 1, -(2**63))
FLOATS = (0.0, -0.0, 0.5, -1e300, 1e300, math.nan, math.inf, -math.inf)
NOT_THAT_TYPE: tuple[Any, ...] = (None, True, 7, -7.5, math.nan, "text", b"bytes", [], [[]], {}, {"a": 1}, Ext(5, b"xy"), 2**64 - 1)
REPLAY_DEPTH = 500
HELD_BACK = 20


@dataclass(frozen=True, slots=True)
class Shot:
    """One message to be said."""

    kind: str
    frames: list[bytes]
    is_bad: bool
    """Whether it does not follow the protocol."""


class Generator:
    """Makes the messages for one socket. The same seed and topics give the same messages."""

    def __init__(self, seed: str, topics: tuple[str, ...], largest_head_bytes: int = MAX_HEAD_BYTES + 1) -> None:
        """`topics`: what the socket is meant for; half of the messages are about them. No head is longer than `largest_head_bytes`:
        what the transport itself refuses ends the connection."""
        self.random = random.Random(seed)
        self._kinds = body_types()
        self._topics = topics
        self._all_topics = sorted(self._kinds)
        self._largest = largest_head_bytes
        self._said: deque[list[bytes]] = deque(maxlen=REPLAY_DEPTH)
        self._held: list[list[bytes]] = []
        self._seq = 0
        self._makers: list[tuple[str, Callable[[], list[bytes]]]] = [
            ("valid", self._valid),
            ("hostile", self._hostile),
            ("truncated", self._truncated),
            ("oversized", self._oversized),
            ("deep", self._deep),
            ("wrong type", self._wrong_type),
            ("wrong version", self._wrong_version),
            ("wrong fields", self._wrong_fields),
            ("random", self._random),
            ("changed byte", self._changed_byte),
            ("replayed", self._replayed),
            ("reordered", self._reordered),
        ]
        self._weights = [2.0, 3.0, 1.5, 0.02, 0.3, 3.0, 1.0, 1.0, 1.5, 2.0, 1.5, 1.5]

    def shot(self) -> Shot:
        """The next message."""
        name, make = self.random.choices(self._makers, self._weights)[0]
        frames = make()
        bad = is_bad(frames)
        assert bad or name not in MUST_BE_BAD, f"a {name} message passed for a good one: {frames!r:.300}"
        if not bad:
            self._said.append(frames)
        return Shot(name, frames, bad)

    # -- good ones ------------------------------------------------------------------------------------------------

    def _valid(self) -> list[bytes]:
        return self._pack(self._kind(), hostile=False)

    def _hostile(self) -> list[bytes]:
        """The right types, with values that nobody means well with. Some pass the bounds and are bad, the others must do no harm."""
        return self._pack(self._kind(), hostile=True)

    def _replayed(self) -> list[bytes]:
        return self.random.choice(self._said) if self._said else self._valid()

    def _reordered(self) -> list[bytes]:
        """Messages are held back, and come out in another order."""
        self._held.append(self._valid())
        if len(self._held) < HELD_BACK:
            return self._valid()
        return self._held.pop(self.random.randrange(len(self._held)))

    def _kind(self) -> type[Body]:
        return self._kinds[self.random.choice(self._topics if self._topics and self.random.random() < 0.7 else self._all_topics)]

    def _pack(self, kind: type[Body], *, hostile: bool) -> list[bytes]:
        return self._frames(kind.topic, self._envelope(hostile), self._value(_info(kind), hostile))

    def _frames(self, topic: str, envelope: Any, body: Any) -> list[bytes]:
        frames = [topic.encode(), msgspec.msgpack.encode((envelope, body))]
        return frames if self.random.random() < 0.7 else [*frames, self.random.randbytes(self.random.choice((0, 1, 959, 960, 9600)))]

    def _envelope(self, hostile: bool) -> list[Any]:
        self._seq += 1
        values = self._value(_info(Envelope), hostile and self.random.random() < 0.2)
        values["version"] = SCHEMA_VERSION
        return [values[field] for field in Envelope.__struct_fields__]

    def _value(self, info: mi.Type, hostile: bool) -> Any:
        pick = self.random.choice
        match info:
            case mi.StructType(fields=fields, tag_field=tag_field, tag=tag):
                values = {field.encode_name: self._value(field.type, hostile) for field in fields}
                return values | ({tag_field: tag} if tag_field else {})
            case mi.StrType():
                return pick(TEXTS if hostile else ("fuzz", "a", "whisper-1", "stt"))
            case mi.LiteralType(values=values):
                return pick(TEXTS) if hostile else pick(values)
            case mi.IntType(ge=least, le=most, multiple_of=step):
                if hostile:
                    return pick(INTEGERS)
                first = max(0, least or 0)
                return self.random.randint(first // (step or 1), min(most or first + 1000, first + 1000) // (step or 1)) * (step or 1)
            case mi.FloatType():
                return pick(FLOATS) if hostile else 0.5
            case mi.BoolType():
                return pick((True, False))
            case mi.ListType(item_type=item):
                return [self._value(item, hostile) for _ in range(self.random.randrange(4))]
            case mi.DictType(key_type=key, value_type=value):
                return {self._value(key, hostile): self._value(value, hostile) for _ in range(self.random.randrange(3))}
            case mi.UnionType(types=types):
                return self._value(pick(types), hostile)
            case mi.NoneType():
                return None
        raise AssertionError(f"nothing for {info}: add it here")

    # -- bad ones -------------------------------------------------------------------------------------------------

    def _truncated(self) -> list[bytes]:
        topic, head, *_ = self._valid()
        return self.random.choice(([topic], [topic, head[: self.random.randrange(len(head))]], [topic, b""], [b""], [head, topic]))

    def _oversized(self) -> list[bytes]:
        topic, head, *_ = self._valid()
        long_name = self._frames("probe", self._envelope(False), {"nonce": "n" * (self._largest - 200)})
        long_key = self._frames("probe", self._envelope(False), {"n" * (self._largest - 200): 1})
        choices = [
            [topic + b"/" + b"x" * MAX_TOPIC_BYTES, head],
            [topic, *[head] * self.random.choice((MAX_FRAMES, 10, 200))],
            [topic, head, *[b""] * 1000],
            [topic, b"\x00" * self._largest],
            long_name,
            long_key,
        ]
        return self.random.choice(choices)

    def _deep(self) -> list[bytes]:
        topic = self._valid()[0]
        depth = self.random.choice((40, 600, 20_000))
        opening = self.random.choice((b"\x91", b"\x81\xa1a"))
        return [topic, self.random.choice((b"\x92\xc0", b"")) + opening * depth + b"\xc0"]

    def _wrong_type(self) -> list[bytes]:
        kind = self._kind()
        envelope, body = self._envelope(False), self._value(_info(kind), False)
        if body and self.random.random() < 0.7:
            field = self.random.choice(list(body))
            body[field] = self._another(body[field])
        else:
            place = self.random.randrange(len(envelope))
            envelope[place] = self._another(envelope[place])
        return self._frames(kind.topic, envelope, body)

    def _another(self, value: Any) -> Any:
        """A value of another type. Not of every type: a whole number will do for a fraction."""
        return self.random.choice([other for other in NOT_THAT_TYPE if type(other) is not type(value)])

    def _wrong_version(self) -> list[bytes]:
        kind = self._kind()
        envelope = self._envelope(False)
        envelope[0] = self.random.choice((0, SCHEMA_VERSION + 1, 255, -1, 2**63))
        return self._frames(kind.topic, envelope, self._value(_info(kind), False))

    def _wrong_fields(self) -> list[bytes]:
        kind = self._kind()
        envelope, body = self._envelope(False), self._value(_info(kind), False)
        choice = self.random.randrange(3)
        if choice == 0:
            body["unknown"] = 1
        elif choice == 1:
            envelope.append("more")
        else:
            del envelope[1:]
        return self._frames(kind.topic, envelope, body)

    def _random(self) -> list[bytes]:
        return [self.random.randbytes(self.random.choice((0, 1, 5, 60, 300))) for _ in range(self.random.randrange(1, 5))]

    def _changed_byte(self) -> list[bytes]:
        frames = [bytearray(frame) for frame in self._valid()]
        frame = self.random.choice(frames[:2])
        frame[self.random.randrange(len(frame))] = self.random.randrange(256)
        return [bytes(frame) for frame in frames]


@cache
def _info(kind: type) -> mi.Type:
    return mi.type_info(kind)


MUST_BE_BAD = {"truncated", "oversized", "deep", "wrong version", "wrong fields", "random"}
"""Kinds that are bad by construction: their counting does not hang on what `decode` thinks of them."""


def is_bad(frames: list[bytes]) -> bool:
    """Whether a message does not follow the protocol."""
    try:
        decode(frames)
    except WireError:
        return True
    return False
