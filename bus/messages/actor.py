"""The life of the actors, and the probe by which a subscriber knows that it is connected."""

from __future__ import annotations

from typing import ClassVar, Final

from bus.messages.base import Body, Count, Line, Name


class ActorState(Body, frozen=True, kw_only=True):
    """An actor changed its state, as the launcher sees it."""

    topic: ClassVar[str] = "actor.state"
    actor: Name
    incarnation: Name
    state: Name
    """`starting`, `ready`, `backing-off`, `stopping`, `stopped` or `failed`."""
    detail: Line = ""


class ActorExited(Body, frozen=True, kw_only=True):
    """A process is gone. Its leases end now."""

    topic: ClassVar[str] = "actor.exited"
    actor: Name
    incarnation: Name
    exit: Line
    """`exit 0`, `signal SIGKILL`, …"""


class LossTold(Body, frozen=True, kw_only=True):
    """Something was lost or set aside: told when an episode of it begins and when it is over, never for each one."""

    topic: ClassVar[str] = "loss.told"
    cause: Name
    """One of `bus.losses.Cause`. One that ends in `-ms` counts milliseconds of sound."""
    number: Count
    """In this episode so far."""
    total: Count
    """In this incarnation of the sender so far."""
    over: bool = False
    """Nothing has been added for some seconds."""


class Probe(Body, frozen=True, kw_only=True):
    """A nonce that its sender waits to hear itself."""

    topic: ClassVar[str] = "probe"
    nonce: Name


class BrokerBeat(Body, frozen=True, kw_only=True):
    """The broker talks to itself, to know that events come through."""

    topic: ClassVar[str] = "broker.beat"


HOUSEKEEPING: Final = (Probe.topic, BrokerBeat.topic)
"""The bus looking at itself: of no use to whoever shows, records or counts events."""
