"""The life of the actors, and the probe by which a subscriber knows that it is connected."""

from __future__ import annotations

from typing import ClassVar

from bus.messages.base import Body


class ActorState(Body, frozen=True, kw_only=True):
    """An actor changed its state, as the launcher sees it."""

    topic: ClassVar[str] = "actor.state"
    actor: str
    incarnation: str
    state: str
    """`starting`, `ready`, `backing-off`, `stopping`, `stopped` or `failed`."""
    detail: str = ""


class ActorExited(Body, frozen=True, kw_only=True):
    """A process is gone. Its leases end now."""

    topic: ClassVar[str] = "actor.exited"
    actor: str
    incarnation: str
    exit: str
    """`exit 0`, `signal SIGKILL`, …"""


class LossTold(Body, frozen=True, kw_only=True):
    """Something was lost or set aside: told when an episode of it begins and when it is over, never for each one."""

    topic: ClassVar[str] = "loss.told"
    cause: str
    """One of `bus.losses.Cause`. One that ends in `-ms` counts milliseconds of sound."""
    number: int
    """In this episode so far."""
    total: int
    """In this incarnation of the sender so far."""
    over: bool = False
    """Nothing has been added for some seconds."""


class Probe(Body, frozen=True, kw_only=True):
    """A nonce that its sender waits to hear itself."""

    topic: ClassVar[str] = "probe"
    nonce: str


class BrokerBeat(Body, frozen=True, kw_only=True):
    """The broker talks to itself, to know that events come through."""

    topic: ClassVar[str] = "broker.beat"
