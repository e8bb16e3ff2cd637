"""Strikes the faults at their moments, and measures how long the struck are away."""

from __future__ import annotations

import heapq
import itertools
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from bus.messages.base import Message
from bus.messages.jobs import JobMoved
from chaos.faults import SOURCE, TAP, Fault
from chaos.world import JournalTail, Life, World, has_run

NUMBERS = {"SIGKILL": signal.SIGKILL, "SIGSEGV": signal.SIGSEGV, "SIGTERM": signal.SIGTERM, "pause": signal.SIGSTOP, "hang": signal.SIGSTOP}


@dataclass(slots=True)
class Strike:
    """A fault that was struck."""

    fault: Fault
    life: Life
    stream: str
    """The stream whose turn it was."""
    struck_ns: int
    """Wall time."""
    recovery_ms: float | None = None
    """From the signal (of a pause: from its end) until it, or its successor, was there again. None: not seen."""


class Striker:
    """Hand it the events as they come, and call `run_due` again and again."""

    def __init__(self, world: World, faults: Sequence[Fault], turn_number: Callable[[str, str], int | None]) -> None:
        """`turn_number` gives the number of a turn by its stream and name, None for one that is none of the run."""
        self._world = world
        self._turn_number = turn_number
        self._armed = list(faults)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._watched: list[Strike] = []
        self._ran: dict[int, int] = {}
        self._stopped: set[int] = set()
        self._journal = JournalTail(world.journal)
        self.strikes: list[Strike] = []

    @property
    def missed(self) -> list[Fault]:
        """Faults that have not been struck."""
        return list(self._armed)

    @property
    def busy(self) -> bool:
        """Whether something is still to be done, or somebody still to come back."""
        return bool(self._due or self._watched)

    def on_event(self, message: Message) -> None:
        """Faults whose moment this is are due after their delay."""
        moment = moment_of(message)
        number = self._turn_number(message.envelope.stream, message.envelope.turn)
        if number is None:
            return
        for fault in self._armed:
            if fault.turn > number:
                break
            if fault.moment == moment:
                self._after(fault.delay_ms / 1000, partial(self._strike, fault, message.envelope.stream))

    def run_due(self) -> None:
        """Strike, let go on, and look who is back."""
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()
        if self._watched:
            self._look()

    def give_up(self, stream: str) -> None:
        """A stream is over, so its source does not come back."""
        self._watched = [strike for strike in self._watched if strike.fault.actor != SOURCE or strike.stream != stream]

    def release(self) -> None:
        """Let everything go on that is still stopped."""
        for pid in list(self._stopped):
            self._resume(pid)

    def _after(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + delay_s, next(self._count), action))

    def _strike(self, fault: Fault, stream: str) -> None:
        """Unless there is nobody to be hit just now: then it stays armed."""
        if fault not in self._armed:
            return  # the moment came twice within the delay
        life = self._world.source(stream) if fault.actor == SOURCE else self._world.life(fault.actor)
        if life is None or life.pid in self._stopped:
            return
        with suppress(ProcessLookupError):
            struck_ns = time.time_ns()
            os.kill(life.pid, NUMBERS[fault.kind])
            strike = Strike(fault, life, stream, struck_ns)
            self._armed.remove(fault)
            self.strikes.append(strike)
            if fault.kind == "pause":
                self._stopped.add(life.pid)
                self._after(fault.pause_ms / 1000, partial(self._end_pause, strike))
            else:
                if fault.kind == "hang":
                    self._stopped.add(life.pid)
                self._watched.append(strike)

    def _end_pause(self, strike: Strike) -> None:
        self._ran[strike.fault.number] = has_run(strike.life.pid)
        strike.struck_ns = time.time_ns()
        self._resume(strike.life.pid)
        self._watched.append(strike)

    def _resume(self, pid: int) -> None:
        self._stopped.discard(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _look(self) -> None:
        self._journal.read()
        for strike in list(self._watched):
            found_ns = self._back_ns(strike)
            if found_ns is not None:
                strike.recovery_ms = (found_ns - strike.struck_ns) / 1e6
                self._watched.remove(strike)
                if strike.fault.kind == "hang":
                    self._stopped.discard(strike.life.pid)

    def _back_ns(self, strike: Strike) -> int | None:
        actor = strike.fault.actor
        if strike.fault.kind == "pause" and has_run(strike.life.pid) > self._ran[strike.fault.number]:
            return time.time_ns()
        if actor == SOURCE:
            source = self._world.source(strike.stream)
            return time.time_ns() if source is not None and source.pid != strike.life.pid else None
        if actor == TAP:
            life = self._world.life(actor)
            return time.time_ns() if life is not None and life.pid != strike.life.pid else None
        since = (time_ns for time_ns, life in self._journal.ready[actor] if life != strike.life.incarnation and time_ns > strike.struck_ns)
        return next(since, None)


def moment_of(message: Message) -> str:
    """The name of an event among `faults.MOMENTS`."""
    if isinstance(message.body, JobMoved):
        return f"{message.body.job_id.split('/')[1]} {message.body.state}"
    return message.topic
