"""The honest beat: the parent hears WATCHDOG=1 only while the main loop keeps the deadlines it set itself.

The main loop is always in a named phase with a deadline. A thread of its own looks at that phase; when it has overstayed, the
stack of every thread goes to stderr and the beat stops. The parent (our launcher or systemd) then sends SIGABRT, on which
faulthandler writes the stacks once more (it can, even when native code holds the GIL), and SIGKILL.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from bus.notify import Notifier

LOADING_S = 300.0
IDLE_S = 2.0
HANDLING_S = 5.0
STOPPING_S = 5.0


class Phases:
    """Which phase the main loop is in, and until when. Pure but for the clock that is handed in."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._current = ("loading", clock_ns() + round(LOADING_S * 1e9))

    @property
    def name(self) -> str:
        return self._current[0]

    def enter(self, name: str, deadline_s: float) -> None:
        """The main loop is in phase `name` now and promises to leave it within `deadline_s`."""
        self._current = (name, self._clock_ns() + round(deadline_s * 1e9))

    @contextmanager
    def during(self, name: str, deadline_s: float) -> Iterator[None]:
        """Enter a phase for the length of a block, then go back to the one before with its own deadline begun anew."""
        before = self._current[0]
        self.enter(name, deadline_s)
        try:
            yield
        finally:
            self.enter(before, HANDLING_S)

    def overstayed_s(self) -> float:
        """How long the present phase has been over its deadline; negative while it is within."""
        return (self._clock_ns() - self._current[1]) / 1e9


class Beat(threading.Thread):
    """Pets the parent's watchdog while the phases are honest."""

    def __init__(self, phases: Phases, notifier: Notifier, environ: Mapping[str, str]) -> None:
        super().__init__(name="beat", daemon=True)
        self._phases = phases
        self._notifier = notifier
        self._ended = threading.Event()
        watchdog_s = int(environ.get("WATCHDOG_USEC") or 2_000_000) / 1e6
        self._interval_s = watchdog_s / 4

    def run(self) -> None:
        dumped = False
        while not self._ended.wait(self._interval_s):
            if self._phases.overstayed_s() <= 0:
                self._notifier.tell(WATCHDOG="1", X_EARSHOT_PHASE=self._phases.name)
                dumped = False
            elif not dumped:
                dumped = True
                with suppress(OSError):  # a full disk
                    sys.stderr.write(f"phase {self._phases.name!r} overstayed its deadline; stacks of all threads:\n")
                    sys.stderr.flush()
                    faulthandler.dump_traceback(all_threads=True)

    def end(self) -> None:
        self._ended.set()
