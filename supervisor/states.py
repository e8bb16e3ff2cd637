"""The life of a child as a table one can read: state and event give the next state and what the launcher does.

What a row does not name leaves the state as it is and does nothing (a late READY from a child being killed, say). The
launcher passes on only events of the child's present incarnation.

    start ─> STARTING ─ready─> READY ─stop─> STOPPING ─gone─> STOPPED
                │                │
                └──── hang ──────┴─> KILLING ─gone─┐
                └──── crash ─────┴─────────────────┴─> BACKING_OFF ─> STARTING, or FAILED once the budget is spent
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

EX_CONFIG: Final = 78
"""Exit status (sysexits.h) of an actor whose configuration cannot work: a restart would only say so again."""

RestartPolicy = Literal["permanent", "until-done"]
"""`permanent`: any unasked end is a failure. `until-done`: exit status 0 means that the work is finished."""


class State(Enum):
    """Where a child is. `shown` is the word that `status` uses."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    BACKING_OFF = "backing-off"
    KILLING = "killing"
    STOPPING = "stopping"
    RESTARTING = "restarting"
    FAILED = "failed"

    @property
    def shown(self) -> str:
        """One of starting, ready, backing-off, stopping, stopped, failed."""
        return "stopping" if self in (State.KILLING, State.RESTARTING) else self.value

    @property
    def has_process(self) -> bool:
        """Whether a process of this child exists in this state."""
        return self in (State.STARTING, State.READY, State.KILLING, State.STOPPING, State.RESTARTING)


class Event(Enum):
    """What can happen to a child."""

    START = "start asked"
    STOP = "stop asked"
    RESTART = "restart asked"
    READY = "said READY=1"
    DONE = "ended, its work finished"
    MISCONFIGURED = "ended with EX_CONFIG"
    CRASHED = "ended unasked, or could not be spawned"
    HUNG = "missed its watchdog, or was not ready in time"
    STOP_OVERDUE = "still there after the stop deadline"
    BACKOFF_OVER = "the restart delay has passed"
    BUDGET_SPENT = "no restart left in this window"


class Action(Enum):
    """What the launcher does on the way."""

    NOTHING = "nothing"
    SPAWN = "spawn a new incarnation"
    SPAWN_AFRESH = "forget earlier failures, spawn a new incarnation"
    TERMINATE = "send SIGTERM, set the stop deadline"
    KILL = "dump the stacks, then SIGKILL"
    SCHEDULE = "ask the restart budget: BACKOFF_OVER later, or BUDGET_SPENT now"
    CANCEL = "drop the restart timer"


_S, _E, _A = State, Event, Action

TABLE: Final[dict[State, dict[Event, tuple[State, Action]]]] = {
    _S.STOPPED: {
        _E.START: (_S.STARTING, _A.SPAWN_AFRESH),
        _E.RESTART: (_S.STARTING, _A.SPAWN_AFRESH),
    },
    _S.STARTING: {
        _E.READY: (_S.READY, _A.NOTHING),
        _E.STOP: (_S.STOPPING, _A.TERMINATE),
        _E.RESTART: (_S.RESTARTING, _A.TERMINATE),
        _E.DONE: (_S.STOPPED, _A.NOTHING),
        _E.MISCONFIGURED: (_S.FAILED, _A.NOTHING),
        _E.CRASHED: (_S.BACKING_OFF, _A.SCHEDULE),
        _E.HUNG: (_S.KILLING, _A.KILL),
    },
    _S.READY: {
        _E.STOP: (_S.STOPPING, _A.TERMINATE),
        _E.RESTART: (_S.RESTARTING, _A.TERMINATE),
        _E.DONE: (_S.STOPPED, _A.NOTHING),
        _E.MISCONFIGURED: (_S.FAILED, _A.NOTHING),
        _E.CRASHED: (_S.BACKING_OFF, _A.SCHEDULE),
        _E.HUNG: (_S.KILLING, _A.KILL),
    },
    _S.KILLING: {  # SIGKILL is sent; however it ended, it had failed
        _E.STOP: (_S.STOPPING, _A.NOTHING),
        _E.RESTART: (_S.RESTARTING, _A.NOTHING),
        _E.DONE: (_S.BACKING_OFF, _A.SCHEDULE),
        _E.MISCONFIGURED: (_S.BACKING_OFF, _A.SCHEDULE),
        _E.CRASHED: (_S.BACKING_OFF, _A.SCHEDULE),
    },
    _S.BACKING_OFF: {
        _E.BACKOFF_OVER: (_S.STARTING, _A.SPAWN),
        _E.BUDGET_SPENT: (_S.FAILED, _A.NOTHING),
        _E.STOP: (_S.STOPPED, _A.CANCEL),
        _E.START: (_S.STARTING, _A.SPAWN_AFRESH),
        _E.RESTART: (_S.STARTING, _A.SPAWN_AFRESH),
    },
    _S.STOPPING: {
        _E.DONE: (_S.STOPPED, _A.NOTHING),
        _E.MISCONFIGURED: (_S.STOPPED, _A.NOTHING),
        _E.CRASHED: (_S.STOPPED, _A.NOTHING),
        _E.STOP_OVERDUE: (_S.STOPPING, _A.KILL),
        _E.START: (_S.RESTARTING, _A.NOTHING),
        _E.RESTART: (_S.RESTARTING, _A.NOTHING),
    },
    _S.RESTARTING: {  # stopping, to be started again
        _E.DONE: (_S.STARTING, _A.SPAWN_AFRESH),
        _E.MISCONFIGURED: (_S.STARTING, _A.SPAWN_AFRESH),
        _E.CRASHED: (_S.STARTING, _A.SPAWN_AFRESH),
        _E.STOP_OVERDUE: (_S.RESTARTING, _A.KILL),
        _E.STOP: (_S.STOPPING, _A.NOTHING),
    },
    _S.FAILED: {  # stays, also through a stop, so that the last status tells what gave up
        _E.START: (_S.STARTING, _A.SPAWN_AFRESH),
        _E.RESTART: (_S.STARTING, _A.SPAWN_AFRESH),
    },
}


def step(state: State, event: Event) -> tuple[State, Action]:
    """The next state, and what to do on the way there."""
    return TABLE[state].get(event, (state, Action.NOTHING))


def exit_event(returncode: int, policy: RestartPolicy) -> Event:
    """The event that a process's end is. `returncode` as subprocess gives it: negative for a signal."""
    if returncode == EX_CONFIG:
        return Event.MISCONFIGURED
    if returncode == 0 and policy == "until-done":
        return Event.DONE
    return Event.CRASHED
