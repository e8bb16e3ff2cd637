"""The honest beat: the parent hears WATCHDOG=1 only while the main loop keeps the deadlines it set itself.

The main loop is always in a named phase with a deadline. A thread of its own looks at that phase; when it has overstayed, the
stack of every thread goes to stderr, and the parent (our launcher or systemd) is told WATCHDOG=trigger. Where even that thread
cannot run (SIGSTOP, native code that holds the GIL), the beat just stops, and the parent notices that. It then sends SIGABRT, on
which faulthandler writes the stacks once more (it can, whoever holds the GIL), and SIGKILL.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from bus.notify import Notifier

LOOK_S = 1.0
"""Between two looks at the phase at the most, however patient the parent is: so the end of any phase that is longer is known before it
comes, and the length of a stop is known to within this, which is less than any phase leaves unused."""
TELL_AGAIN_S = 0.25
"""After the parent's queue was full, or while a phase overstays."""
AFTER_S = 0.02
"""After the end of a phase: a loop that leaves it in time is not met on its way."""
OWN_DELAY_S = 0.25
"""Later than planned by more than this, the beat itself did not run: the process was stopped, or had no processor."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long the main loop may stay in the phases that every actor has, seconds."""

    importing_s: float = 60.0
    """The largest imports take 3 s from a warm disk; from an SD card ten times that."""
    loading_s: float = 60.0
    """Building the actor. What takes longer (a model) is a phase of its own."""
    idle_s: float = 3.0
    """The loop begins it anew each second."""
    handling_s: float = 5.0
    stopping_s: float = 5.0


class _Phase(NamedTuple):
    name: str
    begin_ns: int
    length_s: float


class Phases:
    """Which phase the main loop is in, and until when. Pure but for the clock that is handed in."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns, deadlines: Deadlines | None = None) -> None:
        self.deadlines = deadlines or Deadlines()
        self._clock_ns = clock_ns
        self.enter("importing", self.deadlines.importing_s)
        self._forgiven = (self._current, 0)

    @property
    def name(self) -> str:
        return self._current.name

    def enter(self, name: str, deadline_s: float) -> None:
        """The main loop is in phase `name` now and promises to leave it within `deadline_s`."""
        self._current = _Phase(name, self._clock_ns(), deadline_s)

    @contextmanager
    def during(self, name: str, deadline_s: float) -> Iterator[None]:
        """Enter a phase for the length of a block, then go back to the one before with its own deadline begun anew."""
        before = self._current
        self.enter(name, deadline_s)
        try:
            yield
        finally:
            self.enter(before.name, before.length_s)

    def overstayed_s(self) -> float:
        """How long the present phase has been over its deadline; negative while it is within."""
        phase, (forgiven, gap_ns) = self._current, self._forgiven
        return (self._clock_ns() - phase.begin_ns - (gap_ns if forgiven is phase else 0)) / 1e9 - phase.length_s

    def forgive(self, gap_s: float) -> None:
        """The process did not run for `gap_s`: the present phase has that much longer. For the thread that watches."""
        phase, (forgiven, gap_ns) = self._current, self._forgiven
        self._forgiven = (phase, round(gap_s * 1e9) + (gap_ns if forgiven is phase else 0))


class Beat(threading.Thread):
    """Pets the parent's watchdog while the phases are honest."""

    def __init__(self, phases: Phases, notifier: Notifier, environ: Mapping[str, str]) -> None:
        super().__init__(name="beat", daemon=True)
        self._phases = phases
        self._notifier = notifier
        self._ended = threading.Event()
        self._dumped = False
        watchdog_s = int(environ.get("WATCHDOG_USEC") or 2_000_000) / 1e6
        self._beat_s = watchdog_s / 2
        self._beat_due_s = 0.0

    def run(self) -> None:
        look_s = time.monotonic()  # at once: systemd's watch begins with the first beat
        while not self._ended.wait(max(0.0, look_s - time.monotonic())):
            now_s = time.monotonic()
            if now_s - look_s > OWN_DELAY_S:
                self._phases.forgive(now_s - look_s)
            look_s = self._look(now_s)

    def end(self) -> None:
        self._ended.set()

    def _look(self, now_s: float) -> float:
        """Return when to look again: for the next beat or at the end of the present phase, whichever is first."""
        name, left_s = self._phases.name, -self._phases.overstayed_s()
        if left_s >= 0:
            self._dumped = False
            if now_s >= self._beat_due_s:
                told = self._notifier.tell(WATCHDOG="1", X_EARSHOT_PHASE=name)
                self._beat_due_s = now_s + (self._beat_s if told or not self._notifier.has_parent else TELL_AGAIN_S)
            return min(self._beat_due_s, now_s + min(LOOK_S, left_s + AFTER_S))
        if not self._dumped:
            self._dumped = True
            with suppress(OSError):  # a full disk
                sys.stderr.write(f"phase {name!r} overstayed its deadline; stacks of all threads:\n")
                sys.stderr.flush()
                faulthandler.dump_traceback(all_threads=True)
        self._notifier.tell(WATCHDOG="trigger", X_EARSHOT_PHASE=name)  # each time: a full queue may have lost the last
        return now_s + TELL_AGAIN_S
