"""One child in the launcher's hands: its state, its process, and what is due when.

The table in `states.py` says what an event leads to; this carries it out. Clock, randomness and the spawning of processes
are handed in. Times are monotonic seconds.
"""

from __future__ import annotations

import math
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bus import losses
from supervisor.children import Child
from supervisor.process import exit_text
from supervisor.restart import RestartLimits, after_failure
from supervisor.states import EX_CONFIG, Action, Event, State, exit_event, step

TELL_AFTER_S = 1.0
"""What a starting child waits for is told when it still does so after this: the user waits too, and wants to know for what."""

_HUNG = {"beat": "no beat", "phase": "over its deadline"}


class Living(Protocol):
    """What a ward needs of a process; `process.Process` is one."""

    @property
    def pid(self) -> int: ...

    def signal(self, number: signal.Signals) -> None: ...

    def kill_group(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the launcher waits for what."""

    restart: RestartLimits = field(default_factory=RestartLimits)
    ready_s: float = 300.0
    stop_s: float = 2.0
    first_beat_s: float = 10.0
    """From spawn to the first beat: the start of an interpreter on a busy machine."""
    stacks_s: float = 1.0
    """From SIGABRT, on which a hung child writes its stacks, to SIGKILL."""
    stop_stacks_s: float = 0.25
    """The same for a child that does not stop: the user waits for it."""


class Ward:
    """A child and its lives, one after the other."""

    def __init__(
        self,
        child: Child,
        patience: Patience,
        launch: str,
        *,
        spawn: Callable[[Child, str], Living],
        chance: Callable[[], float],
        on_change: Callable[[Ward], None],
    ) -> None:
        """`launch` names this start of the launcher. `spawn` starts a child as an incarnation, or raises OSError.

        `on_change` is called when the shown state has changed, when a starting child waits for something, and when a ready one
        gets into trouble or out of it.
        """
        self.child = child
        self._launch = launch
        self.state = State.STOPPED
        self.process: Living | None = None
        self.lives = 0
        self.spawned_s = 0.0
        self.phase = ""
        self.status = ""
        self.trouble = ""
        """Why it cannot do its work just now although it is ready, in its own words; empty when it can."""
        self.reason = ""
        """Why it is down or was restarted, for the user."""
        self.last_exit = ""
        self._lost: dict[str, int] = {}  # by the present process, as it said last
        self._lost_before: Counter[str] = Counter()  # by those before it
        self._patience = patience
        self._spawn = spawn
        self._chance = chance
        self._on_change = on_change
        self._history: tuple[float, ...] = ()
        self._shown = self.state.shown
        self._told = ""
        self._due: dict[str, float] = {}

    @property
    def name(self) -> str:
        return self.child.name

    @property
    def incarnation(self) -> str:
        """Of the present process, or of the last one; empty before the first."""
        return f"{self._launch}.{self.lives}" if self.lives else ""

    @property
    def done(self) -> bool:
        """It ended because its work was finished."""
        return self.state is State.STOPPED and self.child.policy == "until-done" and self.last_exit == "exit 0"

    @property
    def losses(self) -> dict[str, int]:
        """What was lost or set aside, by cause, in all of its lives together."""
        return dict(self._lost_before + Counter(self._lost))

    @property
    def misconfigured(self) -> bool:
        """It failed for something that only the user can put right."""
        return self.state is State.FAILED and self.last_exit == exit_text(EX_CONFIG)

    def deadline_s(self) -> float:
        """When `run_due` is to be called next; infinite when nothing is due."""
        return min(self._due.values(), default=math.inf)

    def handle(self, event: Event, now_s: float, stop_s: float | None = None) -> None:
        """Take the step that the table names. `stop_s` is the time it has to stop, if it is to stop."""
        self.state, action = step(self.state, event)
        state = self.state
        if event is Event.READY:
            self._due.pop("ready", None)
            self._due.pop("tell", None)
        match action:
            case Action.SPAWN | Action.SPAWN_AFRESH:
                if action is Action.SPAWN_AFRESH:
                    self._history = ()
                self._start(now_s)
            case Action.TERMINATE:
                self._signal(signal.SIGTERM, signal.SIGCONT)
                self._due = {"stop": now_s + (self._patience.stop_s if stop_s is None else stop_s)}
            case Action.KILL:
                self._signal(signal.SIGABRT, signal.SIGCONT)
                self._due = {"kill": now_s + (self._patience.stacks_s if event is Event.HUNG else self._patience.stop_stacks_s)}
            case Action.SCHEDULE:
                self._schedule(now_s)
            case Action.CANCEL:
                self._due.pop("restart", None)
            case Action.NOTHING:
                pass
        if self.state is state and state.shown != self._shown:  # else a later event, within this one, has told already
            self._shown = state.shown
            self._on_change(self)

    def notice(self, values: Mapping[str, str], now_s: float) -> None:
        """The present process said something."""
        self.phase = values.get("X_EARSHOT_PHASE", self.phase)
        status = values.get("STATUS", self.status)
        news, self.status = status != self.status, status
        self._told = values.get("X_EARSHOT_REASON", self._told)
        if "X_EARSHOT_LOSSES" in values:
            self._lost = losses.from_text(values["X_EARSHOT_LOSSES"])
        trouble = values.get("X_EARSHOT_TROUBLE", self.trouble)
        worth_telling, self.trouble = trouble != self.trouble, trouble
        if values.get("WATCHDOG") == "1" and self.child.watchdog_s is not None and "beat" in self._due:
            self._due["beat"] = now_s + self.child.watchdog_s
        if values.get("WATCHDOG") == "trigger" and self.state in (State.STARTING, State.READY):
            self._hung("phase", now_s)
        elif values.get("READY") == "1":
            self.handle(Event.READY, now_s)
        elif news and self.state is State.STARTING:
            self._due["tell"] = now_s + TELL_AFTER_S
        elif worth_telling and self.state is State.READY:
            self._on_change(self)

    def buried(self, returncode: int, now_s: float) -> None:
        """The present process is gone."""
        self.process = None
        self.last_exit = exit_text(returncode)
        self._lost_before.update(self._lost)
        self._lost = {}
        self._due.clear()
        event = exit_event(returncode, self.child.policy)
        # Otherwise a stop was asked for, or it was killed and the reason for that stands, or its work is done.
        if self.state in (State.STARTING, State.READY) and event is not Event.DONE:
            self.reason = self._told or f"{self.name} ended with {self.last_exit}; see `supervisor logs {self.name}`"
        self.phase = self.status = self.trouble = ""
        self.handle(event, now_s)

    def run_due(self, now_s: float) -> None:
        """Do what is due by now."""
        for what in [what for what, time_s in self._due.items() if time_s <= now_s]:
            if self._due.pop(what, None) is None:
                continue  # an earlier one of this round has done away with it
            match what:
                case "kill":
                    self.kill()
                case "tell":
                    self._on_change(self)
                case "stop":
                    self.handle(Event.STOP_OVERDUE, now_s)
                case "restart":
                    self.handle(Event.BACKOFF_OVER, now_s)
                case _:
                    self._hung(what, now_s)

    def forgive(self, gap_s: float) -> None:
        """The launcher itself was stopped for `gap_s`: what the child did not do meanwhile was not seen."""
        for what in ("beat", "ready", "stop"):
            if what in self._due:
                self._due[what] += gap_s
        watchdog_s = self.child.watchdog_s
        if "beat" in self._due and watchdog_s is not None and gap_s > watchdog_s / 2:
            self._due["beat"] += watchdog_s  # most likely the child was stopped as long (a machine that slept) and wakes later than we

    def kill(self) -> None:
        """SIGKILL, at once, to it and to what it started."""
        if self.process is not None:
            self.process.kill_group()

    def _start(self, now_s: float) -> None:
        self._due.clear()
        self._told = ""
        self.lives += 1
        try:
            self.process = self._spawn(self.child, self.incarnation)
        except OSError as error:
            self.reason = f"cannot start {self.child.argv[0]}: {error.strerror}"
            self.handle(Event.CRASHED, now_s)
            return
        self.spawned_s = now_s
        self._due["ready"] = now_s + self._patience.ready_s
        if self.child.watchdog_s is not None:
            self._due["beat"] = now_s + max(self._patience.first_beat_s, self.child.watchdog_s)

    def _signal(self, *numbers: signal.Signals) -> None:
        if self.process is not None:
            for number in numbers:
                self.process.signal(number)

    def _schedule(self, now_s: float) -> None:
        limits = self._patience.restart
        restart = after_failure(self._history, now_s, self._chance(), limits)
        self._history = restart.history
        if restart.delay_s is not None:
            self._due["restart"] = now_s + restart.delay_s
            return
        self.reason = f"given up after {limits.budget} restarts within {limits.window_s:g} s: {self.reason}"
        self.handle(Event.BUDGET_SPENT, now_s)

    def _hung(self, what: str, now_s: float) -> None:
        phase = f" in phase {self.phase}" if self.phase else ""
        log = f"see its stacks with `supervisor logs {self.name}`"
        if what in _HUNG:
            self.reason = f"{self.name} hung{phase} ({_HUNG[what]}); {log}"
        else:
            self.reason = f"{self.name} was not ready within {self._patience.ready_s:g} s{phase}; {log}"
        self.handle(Event.HUNG, now_s)
