"""What the command line and the launcher say to each other over the control socket."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from bus.messages.base import Body, Name


class ControlStatus(Body, frozen=True, kw_only=True):
    """How is everybody? Answered with `control.state`."""

    topic: ClassVar[str] = "control.status"


class ControlStop(Body, frozen=True, kw_only=True):
    """Stop everything. Answered at once; the lock of the runtime directory is free once it has happened."""

    topic: ClassVar[str] = "control.stop"


class ControlRestart(Body, frozen=True, kw_only=True):
    """Stop one actor and start it again, or revive it when it had failed. Answered at once."""

    topic: ClassVar[str] = "control.restart"
    actor: Name


class ControlDone(Body, frozen=True, kw_only=True):
    """The command was taken."""

    topic: ClassVar[str] = "control.done"


class ControlRefused(Body, frozen=True, kw_only=True):
    """The command was not taken, and why, for the user."""

    topic: ClassVar[str] = "control.refused"
    reason: str


class ActorInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One actor, as the launcher sees it."""

    actor: str
    state: str
    """`starting`, `ready`, `backing-off`, `stopping`, `stopped` or `failed`."""
    pid: int | None
    """None: there is no process."""
    incarnation: str
    """Of the present process, or of the last one; empty before the first."""
    restarts: int
    """How often it was started again since the launcher started."""
    up_s: float
    """Age of the present process, seconds; 0 without one."""
    phase: str
    """What its main loop is doing, in its own word; empty without a process."""
    cpus: str
    """The CPUs it may run on, as in `0-4,10`."""
    rss_bytes: int
    """Resident memory; 0 without a process."""
    last_exit: str
    """How the last process ended, `exit 1` or `signal SIGKILL`; empty: none has ended."""
    detail: str = ""
    """What it waits for, or why it failed, for the user."""
    losses: dict[str, int] = msgspec.field(default_factory=dict)
    """What was lost or set aside, by cause (`bus.losses.Cause`), in all incarnations together."""
    trouble: str = ""
    """Why it cannot do its work just now although it is ready; empty when it can."""


class ControlState(Body, frozen=True, kw_only=True):
    """The answer to `control.status`."""

    topic: ClassVar[str] = "control.state"
    pid: int
    """Of the launcher."""
    ready: bool
    """All actors were ready at once, at least at the first start."""
    actors: list[ActorInfo]
    losses: dict[str, int] = msgspec.field(default_factory=dict)
    """Of the launcher itself."""
