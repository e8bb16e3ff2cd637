"""Timers of a main loop: a heap, with the clock handed in."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

Callback = Callable[[], None]
SWEEP_AT_LEAST = 64


@dataclass(order=True)
class Timer:
    """One thing to be done later, once or again and again."""

    due_ns: int
    order: int
    callback: Callback = field(compare=False)
    interval_ns: int = field(compare=False, default=0)
    cancelled: bool = field(compare=False, default=False)

    def cancel(self) -> None:
        """It will not run any more."""
        self.cancelled = True


class Timers:
    """What is to be done when."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self._heap: list[Timer] = []
        self._order = itertools.count()
        self._sweep_at = SWEEP_AT_LEAST

    def after(self, delay_s: float, callback: Callback) -> Timer:
        """Call `callback` once, `delay_s` from now."""
        return self._push(Timer(self._clock_ns() + round(delay_s * 1e9), next(self._order), callback))

    def every(self, interval_s: float, callback: Callback) -> Timer:
        """Call `callback` each `interval_s`, first after one interval. A late timer does not catch up."""
        interval_ns = round(interval_s * 1e9)
        return self._push(Timer(self._clock_ns() + interval_ns, next(self._order), callback, interval_ns))

    def _push(self, timer: Timer) -> Timer:
        if len(self._heap) > self._sweep_at:  # else a far timer that is planned anew for each message would never go
            self._heap = [other for other in self._heap if not other.cancelled]
            heapq.heapify(self._heap)
            self._sweep_at = max(SWEEP_AT_LEAST, 2 * len(self._heap))
        heapq.heappush(self._heap, timer)
        return timer

    def wait_ms(self, most_ms: int) -> int:
        """How long the loop may sleep: until the next timer, `most_ms` at most."""
        while self._heap and self._heap[0].cancelled:
            heapq.heappop(self._heap)
        if not self._heap:
            return most_ms
        wait_ns = self._heap[0].due_ns - self._clock_ns()
        return max(0, min(most_ms, -(-wait_ns // 1_000_000)))

    def run_due(self) -> None:
        """Call what is due now."""
        now_ns = self._clock_ns()
        while self._heap and self._heap[0].due_ns <= now_ns:
            timer = heapq.heappop(self._heap)
            if timer.cancelled:
                continue
            if timer.interval_ns:
                timer.due_ns = now_ns + timer.interval_ns
                heapq.heappush(self._heap, timer)
            timer.callback()
