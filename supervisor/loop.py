"""A poll over sockets, file descriptors, signals and timers, for the programs of this package."""

from __future__ import annotations

import math
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import zmq

LONGEST_WAIT_S = 60.0

Source = zmq.Socket[bytes] | int


class Loop:
    """Calls back when a source can be read or a timer is due. Of several sources, the first that was watched comes first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._poller = zmq.Poller()
        self._callbacks: dict[Source, Callable[[], None]] = {}
        self._timers: dict[Callable[[], None], tuple[float, float]] = {}
        self.polled_s = clock()
        """When the last wait ended. What had been sent by then has been received."""

    def watch(self, source: Source, callback: Callable[[], None]) -> None:
        """Call back whenever `source` can be read."""
        self._callbacks[source] = callback
        self._poller.register(source, zmq.POLLIN)

    def unwatch(self, source: Source) -> None:
        """Forget a source; to be called before it is closed."""
        self._poller.unregister(source)
        del self._callbacks[source]

    def every(self, interval_s: float, callback: Callable[[], None]) -> None:
        """Call back again and again, until `cancel`."""
        self._timers[callback] = (self._clock() + interval_s, interval_s)

    def cancel(self, callback: Callable[[], None]) -> None:
        """Call it no more; nothing happens when it is not called anyway."""
        self._timers.pop(callback, None)

    def turn(self, until_s: float = math.inf) -> float:
        """Wait for the first thing to do, at most until `until_s` (monotonic), and do all there is.

        Return by how much longer than planned it took since the last wait, seconds: this process was stopped or had no
        processor, or was busy.
        """
        due_s = min((due_s for due_s, _ in self._timers.values()), default=math.inf)
        wait_s = min(max(0.0, min(due_s, until_s) - self._clock()), LONGEST_WAIT_S)
        ready = dict(self._poller.poll(math.ceil(wait_s * 1000)))
        before_s, self.polled_s = self.polled_s, self._clock()
        for source, callback in list(self._callbacks.items()):
            if source in ready and source in self._callbacks:  # an earlier one of this round may have ended the watch
                callback()
        self._run_timers()
        return max(0.0, self.polled_s - before_s - wait_s)

    def _run_timers(self) -> None:
        now_s = self._clock()
        for callback, (due_s, interval_s) in list(self._timers.items()):
            if due_s <= now_s and callback in self._timers:
                self._timers[callback] = (now_s + interval_s, interval_s)
                callback()


class Signals:
    """Signals as something to poll. As a context it takes them over, and gives them back at its end."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._numbers = tuple(numbers)
        self._reader, self._writer = socket.socketpair()

    def __enter__(self) -> Signals:
        for end in (self._reader, self._writer):
            end.setblocking(False)
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, _nothing) for number in self._numbers}
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        return self._reader.fileno()

    def received(self) -> list[signal.Signals]:
        """The signals that have come since it was last asked."""
        try:
            return [signal.Signals(number) for number in os.read(self.fileno(), 256) if number in self._numbers]
        except BlockingIOError:
            return []


def _nothing(_number: int, _frame: FrameType | None) -> Any:
    """The handler proper: the number has been written to the wake-up descriptor already."""
