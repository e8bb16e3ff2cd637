"""Jobs through the dispatcher and its spool on disk, beside the pool of the standard library, which keeps nothing."""

from __future__ import annotations

import multiprocessing
import time
from contextlib import ExitStack
from multiprocessing.pool import Pool
from typing import Any

import zmq

from bench.instance import READY_S, Pipe, actors, answer, child
from bench.result import Result, against, percentile
from bus.addresses import Addresses
from bus.codec import Stamp
from bus.jobs import JobClient, Lease
from bus.messages.jobs import Heard, Job

ROUNDS = 6
HOPS = 50
BURST = 50
_SUBMITTED = "submitted"


def measure() -> list[Result]:
    """The way of one job to its worker, and how many go through in a second."""
    spawn = multiprocessing.get_context("spawn")
    ours_us: list[float] = []
    plain_us: list[float] = []
    ours_per_s: list[float] = []
    plain_per_s: list[float] = []
    with ExitStack() as stack:
        addresses = stack.enter_context(actors("broker", "dispatcher"))
        worker, _ = stack.enter_context(child(_work, addresses))
        pool = stack.enter_context(spawn.Pool(1))
        submitter = _Submitter(addresses, worker)
        stack.callback(submitter.close)
        submitter.hops(1)
        pool.apply(_since_ns, (time.monotonic_ns(),))
        for _ in range(ROUNDS):
            ours_us += submitter.hops(HOPS)
            plain_us += [pool.apply(_since_ns, (time.monotonic_ns(),)) / 1000 for _ in range(HOPS)]
            ours_per_s.append(submitter.burst(BURST))
            plain_per_s.append(_pool_burst(pool, BURST))
    hop = "submit → on disk → lease in the worker's hands, beside multiprocessing.Pool.apply → function entered"
    flow = f"{BURST} submitted at once until the last one is settled, one worker, beside as many Pool.apply_async"
    return [
        against(percentile(plain_us, 50), name="job hop p50", value=percentile(ours_us, 50), unit="µs", meaning=hop),
        against(percentile(plain_us, 99), name="job hop p99", value=percentile(ours_us, 99), unit="µs", meaning=""),
        against(percentile(plain_per_s, 50), name="jobs per second", value=percentile(ours_per_s, 50), unit="/s", meaning=flow),
    ]


class _Submitter:
    """Hands jobs to the dispatcher, and hears from the worker what became of them."""

    def __init__(self, addresses: Addresses, worker: Pipe) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._client = JobClient(self._context, addresses.jobs, Stamp("vad", "1"))
        self._worker = worker
        self._pump = Pump(self._client, worker)
        self._count = 0

    def hops(self, count: int) -> list[float]:
        """One job after the other; how long each took to its worker, microseconds."""
        found: list[float] = []
        for _ in range(count):
            self._submit()
            leased_ns, submitted_ns = self._outcome()
            found.append((leased_ns - submitted_ns) / 1000)
        return found

    def burst(self, count: int) -> float:
        """All at once; how many were done in a second."""
        begin_ns = time.monotonic_ns()
        for _ in range(count):
            self._submit()
        for _ in range(count):
            self._outcome()
        return count / (time.monotonic_ns() - begin_ns) * 1e9

    def close(self) -> None:
        self._client.close()
        self._context.term()

    def _submit(self) -> None:
        self._count += 1
        work = Heard(transcript="what is seven plus five", speech_ms=1420)
        self._client.submit(Job(turn=f"bench-{self._count}", stream="", work=work, marks={_SUBMITTED: time.monotonic_ns()}))

    def _outcome(self) -> Any:
        """Once a job is settled: (when it was leased, when it was submitted). Meanwhile the next ones are sent: a client sends a job when
        the one before it is accepted."""
        end_s = time.monotonic() + READY_S
        while not self._worker.poll(0) and time.monotonic() < end_s:
            self._pump.turn(100)
        return answer(self._worker, "a job", 0)


class Pump:
    """Keeps a job client going."""

    def __init__(self, client: JobClient, *pipes: Pipe) -> None:
        """It is woken by what comes through `pipes` too, which is left to the caller."""
        self._client = client
        self._poller = zmq.Poller()
        for source in (client.socket, client.monitor, *(pipe.fileno() for pipe in pipes)):
            self._poller.register(source, zmq.POLLIN)

    def turn(self, timeout_ms: int) -> None:
        """Wait until something has come, but no longer, and handle it."""
        if self._client.monitor in dict(self._poller.poll(timeout_ms)):
            self._client.notice_connection()
        self._client.receive()


def _work(pipe: Pipe, addresses: Addresses) -> None:
    client = JobClient(zmq.Context(), addresses.jobs, Stamp("dialogue", "1"))

    def on_lease(lease: Lease) -> None:
        leased_ns = time.monotonic_ns()
        lease.done()
        settling.append((leased_ns, lease.job.marks[_SUBMITTED]))

    settling: list[tuple[int, int]] = []
    pump = Pump(client)
    client.work("turn", on_lease)
    while True:
        pump.turn(1000)
        while len(settling) > client.outstanding:  # the oldest one is settled
            pipe.send(settling.pop(0))


def _pool_burst(pool: Pool, count: int) -> float:
    begin_ns = time.monotonic_ns()
    for waiting in [pool.apply_async(_since_ns, (begin_ns,)) for _ in range(count)]:
        waiting.get()
    return count / (time.monotonic_ns() - begin_ns) * 1e9


def _since_ns(begin_ns: int) -> int:
    return time.monotonic_ns() - begin_ns
