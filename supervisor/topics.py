"""`supervisor topic`: which events there are, how often, how large and how late they come, and one of your own."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean, pstdev

import msgspec
from msgspec import inspect as mi

from bus.addresses import Addresses
from bus.codec import encode
from bus.errors import EarshotError
from bus.limits import MAX_NAME_CHARS
from bus.messages import control, jobs
from bus.messages.audio import AudioCommit, AudioFrame, AudioHistory, AudioSince
from bus.messages.base import Body, Message, body_type, body_types
from supervisor.filters import Wanted, wanted
from supervisor.tapping import Tap

_NO_EVENTS: frozenset[type[Body]] = frozenset(
    {
        AudioSince,
        AudioHistory,
        AudioCommit,
        *(kind for kind in vars(control).values() if isinstance(kind, type) and issubclass(kind, Body)),
        *(kind for kind in vars(jobs).values() if isinstance(kind, type) and issubclass(kind, Body) and kind is not jobs.JobMoved),
    }
)
"""Messages between two processes: a tap never sees them."""


def event_types() -> dict[str, type[Body]]:
    """The types of all events, by topic."""
    return {topic: kind for topic, kind in sorted(body_types().items()) if kind not in _NO_EVENTS}


def summary(kind: type[Body]) -> str:
    """What an event tells, in a line."""
    return (kind.__doc__ or "").strip().splitlines()[0]


def field_types(kind: type[Body]) -> str:
    """The fields of an event with their types: `speech_ms: int, cut: bool`."""
    info = mi.type_info(kind)
    assert isinstance(info, mi.StructType), "every body is a struct"
    return ", ".join(f"{field.encode_name}: {_type_name(field.type)}" for field in info.fields)


def _type_name(info: mi.Type) -> str:
    match info:
        case mi.StructType(cls=cls):
            return cls.__name__
        case mi.ListType(item_type=item):
            return f"[{_type_name(item)}]"
        case mi.DictType(key_type=key, value_type=value):
            return f"{{{_type_name(key)}: {_type_name(value)}}}"
        case mi.UnionType(types=types):
            return " | ".join(_type_name(each) for each in types)
    return type(info).__name__.removesuffix("Type").lower()


@dataclass
class Statistics:
    """What can be said of the events of some topics from their arrivals alone. Times are monotonic ns."""

    arrivals_ns: list[int] = field(default_factory=list)
    delays_ms: list[float] = field(default_factory=list)
    sizes_bytes: list[int] = field(default_factory=list)
    topics: Counter[str] = field(default_factory=Counter)

    def add(self, message: Message, arrived_ns: int) -> None:
        """Count one event."""
        self.arrivals_ns.append(arrived_ns)
        self.delays_ms.append((arrived_ns - message.envelope.mono_ns) / 1e6)
        self.sizes_bytes.append(sum(len(frame) for frame in encode(message.body, message.envelope, message.payload)))
        self.topics[message.topic] += 1

    def rate(self, seconds: float) -> dict[str, float]:
        """Events a second, and the time between two of them in ms; NaN where there are too few."""
        gaps_ms = [(b - a) / 1e6 for a, b in zip(self.arrivals_ns, self.arrivals_ns[1:], strict=False)]
        return {
            "count": len(self.arrivals_ns),
            "per_s": len(self.arrivals_ns) / seconds,
            **_spread("gap", gaps_ms),
        }

    def bandwidth(self, seconds: float) -> dict[str, float]:
        """Bytes a second, and the size of one, as packed, without ZeroMQ's few bytes of framing."""
        return {
            "count": len(self.sizes_bytes),
            "bytes_per_s": sum(self.sizes_bytes) / seconds,
            "mean_bytes": fmean(self.sizes_bytes) if self.sizes_bytes else math.nan,
            "max_bytes": max(self.sizes_bytes, default=math.nan),
        }

    def delay(self, _seconds: float) -> dict[str, float]:
        """From when an event was packed until it was here, ms."""
        return {"count": len(self.delays_ms), **_spread("delay", self.delays_ms)}


def _spread(name: str, values_ms: list[float]) -> dict[str, float]:
    if not values_ms:
        return {f"{name}_{which}_ms": math.nan for which in ("mean", "stdev", "p50", "p99", "max")}
    ordered = sorted(values_ms)
    ranks = {f"p{share}": ordered[math.ceil(len(ordered) * share / 100) - 1] for share in (50, 99)}
    found = {"mean": fmean(ordered), "stdev": pstdev(ordered), **ranks, "max": ordered[-1]}
    return {f"{name}_{which}_ms": value for which, value in found.items()}


def measure(addresses: Addresses, chosen: Wanted, seconds: float) -> Statistics:
    """Listen for so long. Raise NoInstance when no assistant is running."""
    statistics = Statistics()
    with Tap(addresses, chosen) as tap:
        for message in tap.messages(seconds):
            statistics.add(message, time.monotonic_ns())
    return statistics


def rates(addresses: Addresses, seconds: float) -> Counter[str]:
    """How often each topic came within that time."""
    return measure(addresses, wanted(["*"]), seconds).topics


def read_event(topic: str, text: str) -> Body:
    """An event from JSON, checked by its type. Raise EarshotError with what is wrong about it."""
    kind = event_types().get(topic)
    if kind is None:
        what = "is no event but talk between two processes" if body_type(topic) else "is no topic"
        raise EarshotError(f"{topic!r} {what}; `supervisor topic list` names them")
    if kind is AudioFrame:
        raise EarshotError("sound comes from a source and not as an event of its own; `supervisor hear FILE` lets the assistant hear some")
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise EarshotError(f"this is no {topic}: {error}; its fields are {field_types(kind) or 'none'}") from None


def publish(addresses: Addresses, body: Body, *, turn: str, stream: str) -> None:
    """Publish an event of the user's own; return once it has come back through the bus. Raise EarshotError when it does not."""
    check_name("--turn", turn)
    check_name("--stream", stream)
    with Tap(addresses, Wanted(topics=(body.topic,))) as tap:
        tap.publisher.publish(body, turn=turn, stream=stream)
        ours = tap.publisher.stamp
        for message in tap.messages(timeout_s=5.0):
            if (message.envelope.sender, message.envelope.incarnation) == (ours.sender, ours.incarnation) and message.body == body:
                return
    raise EarshotError("the event did not come back through the bus; see `supervisor status`")


def check_name(option: str, name: str) -> None:
    """Raise EarshotError when the bus would not let the name pass."""
    if len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise EarshotError(f"{option} takes at most {MAX_NAME_CHARS} printable characters")


def number_lines(values: dict[str, float]) -> Iterable[str]:
    """`name value`, with as many digits as one reads."""
    for name, value in values.items():
        yield f"{name:<15} {_number(value)}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value == int(value) or value >= 1000 else f"{value:.3g}"
