"""A dispatcher and its clients in one thread, pumped by hand: real sockets, a real spool, and a clock that is turned by hand."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import zmq

from bus.addresses import Addresses
from bus.clock import ManualClock
from bus.codec import Stamp
from bus.dispatcher import Dispatcher
from bus.errors import WireError
from bus.jobs import JobClient, Lease, query_jobs
from bus.messages.jobs import Heard, Job, JobInfo, JobMoved, Transcribe
from bus.moments import Moment
from bus.resume import Limit
from bus.spool import Spool
from tests.waiting import pump_until

Answer = TypeVar("Answer")
Context = zmq.Context[zmq.Socket[bytes]]


def speech(turn: str = "a", stream: str = "mic") -> Job:
    return Job(turn=turn, stream=stream, work=Transcribe(first_sample=0, audio_ms=1000, speech_ms=800))


def heard(turn: str = "a") -> Job:
    return Job(turn=turn, stream="mic", work=Heard(transcript="hello"))


def plain(job: Job) -> Job:
    """The job as it was submitted, without what the dispatcher wrote onto it."""
    return msgspec.structs.replace(job, history=[])


def told(job: Job) -> list[tuple[str, str, int, float, float, str]]:
    """The history of a turn, its times in s."""
    return [(past.stage, past.worker, past.number, past.leased_ns / 1e9, past.ended_ns / 1e9, past.lost) for past in job.history]


@dataclass
class Plane:
    """A dispatcher and its clients."""

    addresses: Addresses
    context: Context
    clock: ManualClock = field(default_factory=ManualClock)
    moved: list[tuple[str, str]] = field(default_factory=list)
    moved_ids: list[tuple[str, str]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)
    left: list[tuple[int, int]] = field(default_factory=list)
    run: str = "first"
    hedge_after_s: float = 4.0
    unserved: tuple[str, ...] = ()
    moment: Moment = field(default_factory=lambda: Moment("boot", 0, 1_700_000_000_000_000_000))
    bad: list[WireError] = field(default_factory=list)
    clients: list[JobClient] = field(default_factory=list)

    def start(self) -> None:
        self.spool = Spool(self.addresses.spool)
        self.dispatcher = Dispatcher(
            self.context,
            self.addresses.jobs,
            self.spool,
            Stamp("dispatcher", "1"),
            self.clock,
            max_attempts=3,
            deadlines_s={"transcribe": 10.0},
            hedge_after_s=self.hedge_after_s,
            unserved=self.unserved,
            limit=Limit(self.run, 300.0),
            on_moved=self._on_moved,
            on_trouble=self.troubles.append,
            on_count=lambda cause, _job: self.counted.append(cause),
            on_left=lambda number, since_wall_ns: self.left.append((number, since_wall_ns)),
            moment=lambda: self.moment,
            on_bad=self.bad.append,
        )

    def _on_moved(self, job: Job, moved: JobMoved) -> None:
        self.moved.append((job.stage, moved.state))
        self.moved_ids.append((job.id, moved.state))

    def die(self) -> None:
        """As kill -9 leaves it: no goodbye, and only what is in the spool survives."""
        self.dispatcher.close()

    def client(self, name: str, incarnation: str = "1") -> JobClient:
        client = JobClient(self.context, self.addresses.jobs, Stamp(name, incarnation))
        self.clients.append(client)
        return client

    def until(self, condition: Callable[[], object]) -> None:
        pump_until(condition, *(self._pump(client) for client in self.clients), self._serve)

    def until_served(self, condition: Callable[[], object]) -> None:
        """As `until`, for one who is in the middle of handling something: the clients wait, the dispatcher alone works."""
        pump_until(condition, self._serve)

    def _pump(self, client: JobClient) -> Callable[[], None]:
        def step() -> None:
            while client.monitor.poll(0):
                client.notice_connection()
            client.receive()

        return step

    def _serve(self) -> None:
        if not self.dispatcher.socket.closed and self.dispatcher.socket.poll(1):
            self.dispatcher.receive()

    def worker(self, name: str, queue: str, incarnation: str = "1") -> tuple[JobClient, list[Lease]]:
        leases: list[Lease] = []
        client = self.client(name, incarnation)
        client.work(queue, leases.append)
        return client, leases

    def pump(self, rounds: int) -> None:
        """Let everybody work for a little."""
        for _ in range(rounds):
            for client in self.clients:
                self._pump(client)()
            self._serve()

    def knows_worker(self, key: str) -> bool:
        """Whether the dispatcher has heard of it."""
        return key in self.dispatcher._board.workers

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.dispatcher.close()

    def advance(self, seconds: float) -> None:
        """Let time pass, on all clocks."""
        self.clock.advance_s(seconds)
        boot, boot_ns, wall_ns = self.moment
        self.moment = Moment(boot, boot_ns + round(seconds * 1e9), wall_ns + round(seconds * 1e9))
        self.dispatcher.tick()

    def begin_next_run(self) -> None:
        """All processes are gone; a new start finds what is in the spool."""
        self.close()
        self.clients.clear()
        self.run += "'"
        self.start()

    def jobs(self) -> list[JobInfo]:
        """What the dispatcher tells who asks."""
        stamp = Stamp("cli", "1")
        return self.ask(lambda: query_jobs(self.context, self.addresses.jobs, stamp, "", 10.0))

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """Put a question in a thread of its own while the dispatcher works, as another process would."""
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(question)
            self.until(asked.done)
        return asked.result()
