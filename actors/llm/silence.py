"""When to tell the user that an answer makes him wait: once for each silence. Pure but for the clock and the timers handed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bus.clock import Clock


class Alarm(Protocol):
    """A timer that can be called off."""

    def cancel(self) -> None: ...


class Silence:
    """The time since the last word."""

    def __init__(
        self, patience_s: float, clock: Clock, after: Callable[[float, Callable[[], None]], Alarm], tell: Callable[[], None]
    ) -> None:
        """`tell` is called when nothing has been heard for `patience_s`; `after` calls a function later."""
        self._patience_s = patience_s
        self._clock = clock
        self._after = after
        self._tell = tell
        self._alarm: Alarm | None = None
        self._since_ns = 0
        self.told = False
        """The user knows of this silence, from us or from the caller, who then sets this."""

    def heard(self) -> None:
        """A word, or the beginning of the wait for the first: a silence begins now."""
        self._since_ns = self._clock.monotonic_ns()
        self.told = False
        if self._alarm is None:
            self._set_alarm()

    def end(self) -> None:
        """Nothing more is to come."""
        self.told = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _set_alarm(self) -> None:
        self._alarm = self._after(self._left_s(), self._look)

    def _left_s(self) -> float:
        return self._patience_s - (self._clock.monotonic_ns() - self._since_ns) / 1e9

    def _look(self) -> None:
        self._alarm = None
        if self._left_s() > 0:  # a word came meanwhile
            self._set_alarm()
        elif not self.told:
            self.told = True
            self._tell()
