"""The dispatcher: the one place through which every job passes.

It glues the pure board (`leases.py`) to the spool (`spool.py`) and to a ROUTER socket. Order matters: first the spool, then the
board, then the answer. A fault of the disk leaves the board as it was; the sender repeats itself until it is acknowledged.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from functools import partial

import zmq

from bus.clock import Clock
from bus.codec import Stamp, decode
from bus.errors import EarshotError, WireError
from bus.events import configure
from bus.leases import Board, Entry, Worker
from bus.limits import JOB_HIGH_WATER_MARK
from bus.messages.base import Body, Message
from bus.messages.jobs import (
    Job,
    JobAccepted,
    JobDone,
    JobExtend,
    JobFailed,
    JobInfo,
    JobLease,
    JobMoved,
    JobRefused,
    JobSettled,
    JobsQuery,
    JobsState,
    JobSubmit,
    Parked,
    Transcribe,
    WorkerBye,
    WorkerHello,
)
from bus.spool import Spool
from bus.sqlite import fault_of

RECLAIM_S = 1.0
"""After a restart a job that was leased waits this long for its worker to say that it still has it, or to bring the result. A
transcription waits for the whole of its lease: its worker hears nothing until it is through."""
MAX_OPEN_JOBS = 2_000
RETRY_DELAY_S = 0.2
TROUBLE_RETRY_S = 0.5
TIDY_AFTER_S = 2.0
"""Once nothing has been open for so long, what the finished jobs said is wiped from the spool's log."""


class Dispatcher:
    """Takes jobs in, leases them out, commits their results. Watch `socket`, then call `receive`; call `tick` when `wait_s` is over."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        spool: Spool,
        stamp: Stamp,
        clock: Clock,
        *,
        max_attempts: int,
        deadlines_s: Mapping[str, float],
        on_moved: Callable[[Job, JobMoved], None],
        on_trouble: Callable[[str], None],
        on_bad: Callable[[WireError], None],
    ) -> None:
        """`deadlines_s` gives the length of a lease by stage. `on_trouble` gets a line for the user when the spool cannot be
        written, and an empty one when it can again; `on_bad` is told of each message that does not follow the protocol."""
        self._spool = spool
        self._stamp = stamp
        self._clock = clock
        self._deadlines_s = deadlines_s
        self._on_moved = on_moved
        self._on_trouble = on_trouble
        self._on_bad = on_bad
        self._unsaid: list[Callable[[], None]] = []
        self._in_trouble = False
        self._tidy_at_ns: int | None = None
        self._board = Board(max_attempts)
        self._load()
        self.socket = context.socket(zmq.ROUTER)
        configure(self.socket, JOB_HIGH_WATER_MARK)
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a worker that reconnects takes its own name back
        self.socket.bind(endpoint)

    def receive(self) -> None:
        """Handle all that has arrived, then give out what can be given."""
        while True:
            try:
                peer, *frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                self._handle(peer, decode(frames))
            except WireError as error:
                self._on_bad(error)
        self._give_out()

    def tick(self) -> None:
        """End the leases that have run out; give out what had to wait."""
        with self._trouble_is_told():
            for entry in self._board.expired(self._clock.monotonic_ns()):
                self._take_back(entry, f"no result by its deadline from {entry.worker}")
            if self._tidy_at_ns is not None and self._tidy_at_ns <= self._clock.monotonic_ns():
                self._tidy_at_ns = None
                self._spool.tidy()
        self._give_out()

    def wait_s(self) -> float | None:
        """Seconds until `tick` has something to do; None for never."""
        now_ns = self._clock.monotonic_ns()
        if self._in_trouble:
            return TROUBLE_RETRY_S
        due_ns = min(filter(None, (self._board.next_change_ns(now_ns), self._tidy_at_ns)), default=None)
        return None if due_ns is None else max(0.0, (due_ns - now_ns) / 1e9)

    def worker_exited(self, name: str, incarnation: str) -> None:
        """The parent saw the process of a worker end."""
        self._lose(f"{name}/{incarnation}", "its worker died")
        self._give_out()

    def close(self) -> None:
        self.socket.close()
        self._spool.close()

    # -- messages -------------------------------------------------------------------------------------------------

    def _handle(self, peer: bytes, message: Message) -> None:
        key = f"{message.envelope.sender}/{message.envelope.incarnation}"
        match message.body:
            case JobSubmit(job=job):
                self._submit(peer, job, message.payload)
            case WorkerHello(queue=queue, job_id=job_id):
                self._hello(key, queue, job_id)
            case WorkerBye():
                self._lose(key, "its worker stopped")
            case JobDone() as done:
                self._done(peer, key, done)
            case JobFailed() as failed:
                self._failed(peer, key, failed)
            case JobExtend(lease=lease, job_id=job_id, deadline_ms=deadline_ms):
                entry = self._board.entries.get(job_id)
                if entry is not None and entry.worker == key and entry.lease == lease:
                    entry.deadline_ns = self._clock.monotonic_ns() + deadline_ms * 1_000_000
            case JobsQuery(stream=stream):
                self._send(
                    peer, JobsState(jobs=[_info(entry) for entry in self._board.entries.values() if stream in ("", entry.job.stream)])
                )
            case other:
                raise WireError(f"{other.topic}: not for the dispatcher")

    def _submit(self, peer: bytes, job: Job, payload: bytes | None) -> None:
        try:
            duplicate = self._spool.knows(job.id)
            if not duplicate and sum(not entry.parked for entry in self._board.entries.values()) >= MAX_OPEN_JOBS:
                self._send(peer, JobRefused(job_id=job.id, reason=f"{MAX_OPEN_JOBS} jobs are open already"))
                return
            if not duplicate:
                self._add(job, None, payload)
                self._written()
        except sqlite3.Error as error:
            self._tell_trouble(error)
            self._send(peer, JobRefused(job_id=job.id, reason=f"the spool cannot be written: {fault_of(error, self._spool.path).text}"))
            return
        self._say(peer, JobAccepted(job_id=job.id, duplicate=duplicate))

    def _hello(self, key: str, queue: str, job_id: str) -> None:
        for predecessor in self._board.predecessors(key):
            self._lose(predecessor, "its worker was replaced")
        self._board.hello(key, queue, job_id)
        for waiting in self._board.awaiting(key):
            waiting.not_before_ns = self._soon_ns()  # it is there and does not have it: the result is on its way, or it never got it
        entry = self._board.entries.get(job_id)
        if entry is not None and entry.worker == key and not entry.deadline_ns:
            entry.deadline_ns = self._deadline_ns(entry.job)

    def _done(self, peer: bytes, key: str, done: JobDone) -> None:
        entry = self._board.entries.get(done.job_id)
        accepted = entry is not None and not entry.parked
        if entry is not None and accepted:
            with self._trouble_is_told() as trouble:
                fresh = self._commit(entry, done.follow_ups)
                self._written()
            if trouble.happened:
                return  # not acknowledged, so it comes again
            self._board.remove(done.job_id)
            idle = not fresh and all(other.parked for other in self._board.entries.values())
            self._tidy_at_ns = self._clock.monotonic_ns() + round(TIDY_AFTER_S * 1e9) if idle else None
            for follow_up, number in fresh:
                self._board.add(Entry(follow_up, number, entry.turn_order))
            self._moved(entry.job, JobMoved(job_id=done.job_id, state="done", attempt=entry.attempts, worker=key))
        self._board.credit(key)
        self._say(peer, JobSettled(lease=done.lease, accepted=accepted))

    def _commit(self, entry: Entry, follow_ups: list[Job]) -> list[tuple[Job, int]]:
        """Remove one job and add those that follow, or neither. Return the new ones with their numbers."""
        with self._spool.transaction():
            self._spool.finish(entry.job.id)
            return [(job, self._spool.add(job, entry.turn_order)[0]) for job in follow_ups if not self._spool.knows(job.id)]

    def _failed(self, peer: bytes, key: str, failed: JobFailed) -> None:
        entry = self._board.entries.get(failed.job_id)
        # A repetition of an old word must not end the attempt that came after it.
        accepted = entry is not None and entry.worker == key and entry.lease == failed.lease
        if entry is not None and accepted:
            with self._trouble_is_told() as trouble:
                self._take_back(entry, failed.reason, park=not failed.retry, delay_s=max(failed.delay_ms / 1000, RETRY_DELAY_S))
            if trouble.happened:
                return
        self._board.credit(key)
        self._say(peer, JobSettled(lease=failed.lease, accepted=accepted))

    # -- jobs -----------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        for stored in self._spool.load():
            entry = Entry(stored.job, stored.number, stored.turn_order, stored.attempts, parked=stored.parked, reason=stored.reason)
            entry.awaited = stored.holder
            if stored.holder:
                entry.not_before_ns = self._deadline_ns(stored.job) if isinstance(stored.job.work, Transcribe) else self._soon_ns()
            self._board.add(entry)

    def _add(self, job: Job, turn_order: int | None, payload: bytes | None = None) -> None:
        known = self._board.turn_order(job, 0) or turn_order
        number, turn_order = self._spool.add(job, known, payload)
        self._board.add(Entry(job, number, turn_order))
        self._moved(job, JobMoved(job_id=job.id, state="submitted"))

    def _lose(self, key: str, reason: str) -> None:
        entry = self._board.gone(key)
        if entry is not None:
            with self._trouble_is_told():
                self._take_back(entry, reason)

    def _take_back(self, entry: Entry, reason: str, *, park: bool = False, delay_s: float = 0.0) -> None:
        """A lease ended without a result: to the next worker, or, when all attempts are used up, to the user."""
        worker, attempt = entry.worker, entry.attempts
        if park or self._board.exhausted(entry):
            state = "parked"
            notice = Parked(failed_stage=entry.job.stage, reason=reason, transcript=getattr(entry.job.work, "transcript", ""))
            notice_job = Job(turn=entry.job.turn, stream=entry.job.stream, work=notice, marks=entry.job.marks)
            with self._spool.transaction():
                self._spool.park(entry.job.id, reason)
                number = None if self._spool.knows(notice_job.id) else self._spool.add(notice_job, entry.turn_order)[0]
            self._board.park(entry, reason)
            if number is not None:
                self._board.add(Entry(notice_job, number, entry.turn_order))
        else:
            state = "requeued"
            self._board.put_back(entry, reason, self._clock.monotonic_ns() + round(delay_s * 1e9))
            self._spool.put_back(entry.job.id, reason)  # last: the board is right even when the disk is full
        self._moved(entry.job, JobMoved(job_id=entry.job.id, state=state, attempt=attempt, worker=worker, reason=reason))

    def _give_out(self) -> None:
        """Lease what can be leased; then say what was held back for it."""
        with self._trouble_is_told():
            for worker, entry in self._board.assignments(self._clock.monotonic_ns()):
                self._lease(worker, entry)
                self._written()
        unsaid, self._unsaid = self._unsaid, []
        for say in unsaid:
            say()

    def _lease(self, worker: Worker, entry: Entry) -> None:
        payload = self._spool.payload(entry.job.id) if isinstance(entry.job.work, Transcribe) else None
        self._spool.lease(entry.job.id, worker.key)
        deadline_ns = self._deadline_ns(entry.job)
        self._board.lease(worker, entry, deadline_ns)
        deadline_ms = (deadline_ns - self._clock.monotonic_ns()) // 1_000_000
        offer = JobLease(lease=entry.lease, attempt=entry.attempts, deadline_ms=deadline_ms, job=entry.job)
        self._send(worker.key.encode(), offer, payload)
        self._moved(entry.job, JobMoved(job_id=entry.job.id, state="leased", attempt=entry.attempts, worker=worker.key))

    def _deadline_ns(self, job: Job) -> int:
        seconds = self._deadlines_s.get(job.stage, 10.0)
        if isinstance(job.work, Transcribe):
            seconds += 10 * job.work.audio_ms / 1000
        return self._clock.monotonic_ns() + round(seconds * 1e9)

    def _say(self, peer: bytes, body: Body) -> None:
        """Answer once the leases are out: the next stage of a turn waits for those, and nobody waits for this."""
        self._unsaid.append(partial(self._send, peer, body))

    def _moved(self, job: Job, moved: JobMoved) -> None:
        self._unsaid.append(partial(self._on_moved, job, moved))

    def _soon_ns(self) -> int:
        return self._clock.monotonic_ns() + round(RECLAIM_S * 1e9)

    def _send(self, peer: bytes, body: Body, payload: bytes | None = None) -> None:
        # Never blocks: a peer that is gone or whose queue is full misses the message, and asks again.
        self.socket.send_multipart([peer, *self._stamp.pack(body, payload=payload)], zmq.NOBLOCK)

    # -- trouble with the disk ------------------------------------------------------------------------------------

    def _trouble_is_told(self) -> _Trouble:
        return _Trouble(self._tell_trouble)

    def _written(self) -> None:
        if self._in_trouble:
            self._in_trouble = False
            self._on_trouble("")

    def _tell_trouble(self, error: sqlite3.Error) -> None:
        """Raises EarshotError when the file itself is at fault: the next start of the dispatcher mends it."""
        fault = fault_of(error, self._spool.path)
        if fault.damaged:
            raise EarshotError(f"the spool {self._spool.path} is damaged ({error}); starting again to mend it")
        if not self._in_trouble:
            self._in_trouble = True
            self._on_trouble(f"the spool cannot be written: {fault.text}; work goes on by itself then")


class _Trouble:
    """Catches what SQLite raises in a block: the work is tried again later, nothing is lost."""

    def __init__(self, tell: Callable[[sqlite3.Error], None]) -> None:
        self._tell = tell
        self.happened = False

    def __enter__(self) -> _Trouble:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if isinstance(error, sqlite3.Error):
            self.happened = True
            self._tell(error)
        return self.happened


def _info(entry: Entry) -> JobInfo:
    state = "parked" if entry.parked else "leased" if entry.worker else "waiting"
    return JobInfo(
        job_id=entry.job.id,
        turn=entry.job.turn,
        stream=entry.job.stream,
        stage=entry.job.stage,
        state=state,
        attempts=entry.attempts,
        worker=entry.worker,
        reason=entry.reason,
    )
