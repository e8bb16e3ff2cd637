"""Time, handed in so that tests can turn it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one that only moves forward and one that people read."""

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC: the same clock for all processes of this machine."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970; may jump both ways, so never used for a deadline."""


class SystemClock:
    """The machine's own clocks."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()


class ManualClock:
    """A clock that moves only when told to, for tests."""

    def __init__(self, monotonic_ns: int = 0, wall_ns: int = 1_700_000_000_000_000_000) -> None:
        self._monotonic_ns = monotonic_ns
        self._wall_ns = wall_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def wall_ns(self) -> int:
        return self._wall_ns

    def advance_s(self, seconds: float) -> None:
        self._monotonic_ns += round(seconds * 1e9)
        self._wall_ns += round(seconds * 1e9)
