"""The dispatcher: the one place through which every job passes.

It glues the pure board (`leases.py`) to the spool (`spool.py`) and to a ROUTER socket. Order matters: first the spool, then the
board, then the answer. A fault of the disk leaves the board as it was; the sender repeats itself until it is acknowledged.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import zmq

from bus.ahead_desk import AheadDesk
from bus.clock import Clock
from bus.codec import Stamp, decode
from bus.errors import WireError
from bus.events import configure, received
from bus.given_up import GivenUp
from bus.leases import Board, Entry, Worker, bounded_ms
from bus.limits import JOB_HIGH_WATER_MARK
from bus.losses import Cause
from bus.messages.base import Body, Message
from bus.messages.jobs import (
    Job,
    JobAccepted,
    JobCancel,
    JobCommitted,
    JobDeclined,
    JobDone,
    JobExtend,
    JobFailed,
    JobLease,
    JobMoved,
    JobRefused,
    JobSettled,
    JobSpeculate,
    JobsQuery,
    JobSubmit,
    JobWithdraw,
    ParkedDrop,
    ParkedRetry,
    Transcribe,
    WorkerBye,
    WorkerHello,
)
from bus.moments import Moment, this_moment
from bus.peers import Peers
from bus.resume import Limit, is_answered, left_behind
from bus.spool import Spool, Stored
from bus.sqlite import fault_of
from bus.terms import Terms
from bus.trouble import Trouble

RECLAIM_S = 1.0
"""After a restart a job that was leased waits this long for its worker to say that it still has it, or to bring the result. A
transcription waits for the whole of its lease: its worker hears nothing until it is through."""
MAX_OPEN_JOBS = 2_000
RETRY_DELAY_S = 0.2
TROUBLE_RETRY_S = 0.5
SWEEP_AFTER_S = 0.2  # the sound of a finished job is overwritten this much later, and not while the next stage of its turn waits
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
        hedge_after_s: float,
        unserved: Collection[str] = (),
        limit: Limit,
        on_moved: Callable[[Job, JobMoved], None],
        on_trouble: Callable[[str], None],
        on_bad: Callable[[WireError], None],
        on_count: Callable[[Cause, Job | None], None],
        on_left: Callable[[int, int], None],
        moment: Callable[[], Moment] = this_moment,
    ) -> None:
        """`deadlines_s` gives the length of a lease by stage. `hedge_after_s`: how long a transcription may take beyond the length of
        its sound until a second worker may have it too; 0: for ever. A job for one of the queues `unserved` is given up at once. `limit`
        says which open turns are too old to be taken up.

        `on_trouble` gets a line for the user when jobs cannot be taken, and an empty one when they can again; `on_bad` each bad message,
        `on_count` what is to be counted and its job, `on_left` how many turns were too old and when the oldest was spoken (wall time, ns).
        """
        self._spool = spool
        self._clock = clock
        self._terms = Terms(clock, deadlines_s, hedge_after_s)
        self._run = limit.run
        self._on_moved = on_moved
        self._trouble = Trouble(spool.path, on_trouble)
        self._on_bad = on_bad
        self._on_count = on_count
        self._on_left = on_left
        self._moment = moment
        self._unsaid: list[Callable[[], object]] = []
        self._sweep_at_ns: int | None = None
        self._tidy_at_ns: int | None = None
        self._board = Board(max_attempts, frozenset(unserved))
        self._given_up = GivenUp(spool, self._board, clock, moment, on_count=on_count, on_moved=self._moved, wipe=self._plan_wiping)
        self._left: list[Stored] = []
        self._load(limit)
        self.socket = context.socket(zmq.ROUTER)
        configure(self.socket, JOB_HIGH_WATER_MARK)
        self._peers = Peers(self.socket, stamp)
        self._ahead = AheadDesk(self._board, self._peers, clock, deadline_ns=self._terms.deadline_ns, on_moved=self._moved)
        self.socket.bind(endpoint)

    def receive(self) -> None:
        """Handle all that has arrived, then give out what can be given."""
        for peer, *frames in received(self.socket):
            try:
                self._handle(peer, decode(frames))
            except WireError as error:
                self._on_bad(error)
        self._give_out()

    def tick(self) -> None:
        """End the leases that have run out; give out what had to wait, and what is late; wipe what is over."""
        now_ns = self._clock.monotonic_ns()
        with self._trouble.caught():
            for entry, key in self._board.expired(now_ns):
                lease = entry.lease(entry.holds[key].attempt)
                self._end_hold(entry, key, f"no result by its deadline from {key}", owes=True)
                self._peers.tell(key, JobCancel(lease=lease))
            self._ahead.tick()
            if self._left:
                self._leave_behind()
            if self._sweep_at_ns is not None and self._sweep_at_ns <= now_ns:
                self._sweep_at_ns = None
                self._spool.sweep()
            if self._tidy_at_ns is not None and self._tidy_at_ns <= now_ns:
                self._tidy_at_ns = None
                self._spool.tidy()
        self._give_out()

    def wait_s(self) -> float | None:
        """Seconds until `tick` has something to do; None for never."""
        now_ns = self._clock.monotonic_ns()
        if self._trouble.lasts:
            return TROUBLE_RETRY_S
        changes_ns = (self._board.next_change_ns(now_ns), self._ahead.next_change_ns(), self._sweep_at_ns, self._tidy_at_ns)
        due_ns = min(filter(None, changes_ns), default=None)
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
        match message.body:
            case JobSubmit(job=job):
                self._submit(peer, job, message.payload)
            case JobSpeculate() as wish:
                self._speculate(wish, message.payload)
            case JobWithdraw(turn=turn):
                self._ahead.withdraw(turn)
            case JobsQuery(stream=stream):
                self._answer(peer, partial(self._given_up.state, stream))
            case ParkedRetry(job_ids=job_ids):
                self._answer(peer, partial(self._given_up.retry, job_ids))
            case ParkedDrop(job_ids=job_ids):
                self._answer(peer, partial(self._given_up.drop, job_ids))
            case body:
                self._hear_worker(peer, f"{message.envelope.sender}/{message.envelope.incarnation}", body)

    def _hear_worker(self, peer: bytes, key: str, body: Body) -> None:
        match body:
            case WorkerHello():
                self._hello(peer, key, body)
            case WorkerBye():
                if self._peers.is_at(key, peer):
                    self._lose(key, "its worker stopped")
            case JobDone():
                self._done(peer, key, body)
            case JobFailed():
                self._failed(peer, key, body)
            case JobDeclined():
                self._declined(peer, key, body)
            case JobExtend():
                self._extend(key, body)
            case _:
                raise WireError(f"{body.topic}: not for the dispatcher")

    def _submit(self, peer: bytes, job: Job, payload: bytes | None) -> None:
        taken = job.revision
        try:
            duplicate = self._spool.knows(job.id)
            if isinstance(job.work, Transcribe) and not duplicate and (known := self._spool.first_revision(job.turn, job.stage)) >= 0:
                duplicate, taken = True, known
            if not duplicate and len(self._board.entries) >= MAX_OPEN_JOBS:
                self._trouble.tell(f"{MAX_OPEN_JOBS} jobs are open already; what is said now waits until some of them are done")
                self._refuse(peer, job, f"{MAX_OPEN_JOBS} jobs are open already", "jobs-refused-full")
                return
            if not duplicate:
                self._add(job, payload)
                if len(self._board.entries) < 0.9 * MAX_OPEN_JOBS:  # or it would be told again and again
                    self._trouble.over()
        except sqlite3.Error as error:
            self._trouble.tell_disk(error)
            self._refuse(peer, job, f"the spool cannot be written: {fault_of(error, self._spool.path).text}", "jobs-refused-disk")
            return
        self._say(peer, JobAccepted(job_id=job.id, duplicate=duplicate, revision=taken))

    def _speculate(self, wish: JobSpeculate, payload: bytes | None) -> None:
        with self._trouble.caught():
            if self._spool.newest_revision(wish.job.turn) < 0:  # else it was overtaken by the turn itself
                self._ahead.speculate(wish, payload, self._moment())

    def _refuse(self, peer: bytes, job: Job, reason: str, cause: Cause) -> None:
        self._on_count(cause, job)
        self._peers.send(peer, JobRefused(job_id=job.id, reason=reason))

    def _hello(self, peer: bytes, key: str, hello: WorkerHello) -> None:
        for predecessor in self._board.predecessors(key):
            self._lose(predecessor, "its worker was replaced")
        self._board.hello(key, hello.queue, hello.lease)
        self._peers.greet(key, peer)
        if hello.lease and not self._resume(key, hello):
            self._peers.send(peer, JobCancel(lease=hello.lease))
        for entry in self._board.awaiting(key):  # it is there and does not have it: the result is on its way, or it never got it
            self._board.give_up_waiting(entry, key, self._in_ns(RECLAIM_S), self._clock.monotonic_ns(), "its worker came back without it")

    def _resume(self, key: str, hello: WorkerHello) -> bool:
        """A worker has a lease in its hands; return whether it may go on with it."""
        entry, lease = self._board.entries.get(hello.job_id), hello.lease
        if self._ahead.holds(key, lease):
            return True
        if entry is None or not self._board.resume(key, entry, self._terms.hold(entry.attempt_of(lease), entry.job)):
            return False
        if lease == entry.lease(0):  # what tells it that the job is wanted may have been lost with the dispatcher that wrote that down
            self._peers.tell(key, JobCommitted(lease=lease, job=entry.job))
        return True

    def _extend(self, key: str, extend: JobExtend) -> None:
        self._ahead.extend(key, extend)
        entry = self._board.entries.get(extend.job_id)
        if entry is not None and (hold := entry.held_as(key, extend.lease)) is not None:  # its worker is well, so it is not late either
            entry.holds[key] = hold.extended(self._in_ns(bounded_ms(extend.deadline_ms) / 1000))

    def _done(self, peer: bytes, key: str, done: JobDone) -> None:
        entry = self._board.entries.get(done.job_id)
        if entry is None and self._ahead.done(key, done):
            self._board.credit(key, done.lease)
            self._say(peer, JobSettled(lease=done.lease, accepted=True))
            return
        if entry is not None:
            with self._trouble.caught() as trouble:
                history = entry.history(key, done.lease, self._clock.monotonic_ns())
                fresh = self._commit(entry, [entry.follow_up(job, history) for job in done.follow_ups])
                self._trouble.written()
            if trouble.happened:
                return  # not acknowledged, so it comes again
            self._board.remove(done.job_id)
            self._begin(fresh)
            for other, attempt in entry.holders.items():
                if other != key:
                    self._peers.tell(other, JobCancel(lease=entry.lease(attempt)))
            if done.lease == entry.lease(0):  # begun ahead of time, and perhaps never told that it is wanted
                self._peers.tell(key, JobCommitted(lease=done.lease, job=entry.job))
            self._plan_wiping(entry.job)
            self._moved(entry.job, JobMoved(job_id=done.job_id, state="done", attempt=entry.attempt_of(done.lease), worker=key))
        if self._board.credit(key, done.lease) and entry is None and not done.lease.endswith("#0"):
            self._on_count("results-late", None)
        self._say(peer, JobSettled(lease=done.lease, accepted=entry is not None))

    def _commit(self, entry: Entry, follow_ups: Sequence[Job]) -> list[tuple[Entry, Worker | None]]:
        """Remove one job and add those that follow, or neither. Return the new ones, each with the worker that it is leased to.

        A worker that can have a follow-up at once is written down in the same transaction, and its attempt is counted before it can
        begin, as ever: the turn waits for one commit and not for two.
        """
        fresh: list[tuple[Entry, Worker | None]] = []
        with self._spool.transaction():
            self._spool.finish(entry.job.id)
            for job in follow_ups:
                if self._spool.knows(job.id):
                    continue
                taken = [worker.key for _, worker in fresh if worker is not None]
                worker = self._board.taker(job, entry.turn_order, entry.job.id, taken)
                number, _ = self._spool.add(job, entry.turn_order, born=entry.born, holders=_first_holder(worker))
                fresh.append((Entry(job, number, entry.turn_order, entry.born), worker))
        return fresh

    def _begin(self, fresh: Sequence[tuple[Entry, Worker | None]], payload: bytes | None = None) -> None:
        """New jobs are in the spool: tell the workers that were written down with them."""
        for entry, worker in fresh:
            self._board.add(entry)
            if worker is not None:
                self._offer(worker, entry, payload)

    def _failed(self, peer: bytes, key: str, failed: JobFailed) -> None:
        entry = self._board.entries.get(failed.job_id)
        # A repetition of an old word must not end the attempt that came after it.
        accepted = entry is not None and entry.held_as(key, failed.lease) is not None
        if entry is None:
            accepted = self._ahead.wait(key, failed.lease)
        if entry is not None and accepted:
            delay_s = max(bounded_ms(failed.delay_ms) / 1000, RETRY_DELAY_S)
            with self._trouble.caught() as trouble:
                self._end_hold(entry, key, failed.reason, park=not failed.retry, delay_s=delay_s)
            if trouble.happened:
                return
        self._board.credit(key, failed.lease)
        self._say(peer, JobSettled(lease=failed.lease, accepted=accepted))

    def _declined(self, peer: bytes, key: str, declined: JobDeclined) -> None:
        entry = self._board.entries.get(declined.job_id)
        accepted = self._ahead.wait(key, declined.lease)
        if entry is not None and entry.held_as(key, declined.lease) is not None:  # it is wanted by now: let it be given out again
            accepted = True
            self._board.release(entry, key)
            with self._trouble.caught():
                self._spool.release(entry.job, entry.holders, "")
        self._board.credit(key, declined.lease)
        self._say(peer, JobSettled(lease=declined.lease, accepted=accepted))

    def _answer(self, peer: bytes, make: Callable[[], Body]) -> None:
        """Answer a question or do what the user wants; when the disk does not let us, say so."""
        try:
            self._say(peer, make())
        except sqlite3.Error as error:
            self._trouble.tell_disk(error)
            self._peers.send(peer, JobRefused(job_id="", reason=f"the spool cannot be used: {fault_of(error, self._spool.path).text}"))

    # -- jobs -----------------------------------------------------------------------------------------------------

    def _load(self, limit: Limit) -> None:
        stored = self._spool.load()
        self._left = left_behind(stored, self._spool.last_run(), limit, self._moment())
        left = {each.number for each in self._left}
        for each in stored:
            if each.number not in left:
                self._board.add(self._taken_up(each))
        with self._trouble.caught():
            self._leave_behind()

    def _taken_up(self, stored: Stored) -> Entry:
        entry = Entry(stored.job, stored.number, stored.turn_order, stored.born, stored.attempts, reason=stored.reason)
        entry.awaited, entry.found_ns = dict(stored.holders), self._clock.monotonic_ns()
        if stored.holders:
            hears_nothing = isinstance(stored.job.work, Transcribe)
            entry.not_before_ns = self._terms.deadline_ns(stored.job) if hears_nothing else self._in_ns(RECLAIM_S)
        return entry

    def _leave_behind(self) -> None:
        """Give up what is too old to be answered, and have it remembered so. What cannot be written down now is tried again later."""
        reason = "left unanswered: the assistant was not running"
        with self._spool.transaction():
            notices = [self._given_up.give_up(self._taken_up(stored), reason, aloud=False) for stored in self._left]
            self._spool.begin_run(self._run)
        for notice in notices:
            self._board.add(notice)
        if unanswered := [stored for stored in self._left if not is_answered(stored)]:
            self._on_left(len({stored.job.turn for stored in unanswered}), min(stored.born.wall_ns for stored in unanswered))
        self._left = []

    def _add(self, job: Job, payload: bytes | None) -> None:
        """Take in a new job that somebody submitted, with what was done of it ahead of time."""
        kin = self._board.first_of_turn(job.turn)
        known, born = (kin.turn_order, kin.born) if kin is not None else (None, self._moment())
        blocked = any(entry.job.stream == job.stream and entry is not kin for entry in self._board.entries.values())
        chain, committed = self._ahead.commit(job, blocked=blocked)
        tip = committed.tip
        worker = None if committed.holders else self._board.taker(tip, known or sys.maxsize, "", ())
        try:
            with self._spool.transaction():
                for job_id in committed.done:
                    self._spool.finish(job_id)
                sound = payload if tip.id == job.id else None
                number, turn_order = self._spool.add(tip, known, sound, born=born, holders=committed.holders or _first_holder(worker))
        except sqlite3.Error:
            if chain is not None:
                self._ahead.abandon(chain)
            raise
        entry = Entry(tip, number, turn_order, born)
        self._moved(job, JobMoved(job_id=job.id, state="submitted"))
        if chain is not None:
            entry.holds = {key: self._terms.wanted(hold, tip) for key, hold in chain.entry.holds.items()}
            self._ahead.written(chain, job)
        self._begin([(entry, worker)], sound)

    def _lose(self, key: str, reason: str) -> None:
        self._ahead.gone(key)
        entry = self._board.gone(key, self._clock.monotonic_ns(), reason)
        if entry is not None:
            with self._trouble.caught():
                self._end_hold(entry, key, reason)

    def _end_hold(self, entry: Entry, key: str, reason: str, *, park: bool = False, delay_s: float = 0.0, owes: bool = False) -> None:
        """A lease ended without a result: another holder goes on, or the job goes to the next worker, or, when all attempts are used
        up, to the user. With `owes` the worker may still be at it."""
        attempt = entry.holds[key].attempt
        if len(entry.holds) == 1 and (park or self._board.exhausted(entry)):
            self._given_up.park(entry, reason, key)
            return
        entry.job, entry.reason = entry.lost_by([key], self._clock.monotonic_ns(), reason), reason
        self._board.release(entry, key, owes=owes)
        if entry.waiting:
            entry.not_before_ns = self._in_ns(delay_s)
            self._on_count("jobs-requeued", entry.job)
        state = "requeued" if entry.waiting else "released"
        self._spool.release(entry.job, entry.holders, reason)  # last: the board is right even when the disk is full
        self._moved(entry.job, JobMoved(job_id=entry.job.id, state=state, attempt=attempt, worker=key, reason=reason))

    # -- leases ---------------------------------------------------------------------------------------------------

    def _give_out(self) -> None:
        """Lease what can be leased; then say what was held back for it."""
        with self._trouble.caught():
            for entry in self._board.spent(self._clock.monotonic_ns()):
                why = "there is no worker for it" if self._board.is_unserved(entry) else "its worker died"
                self._given_up.park(entry, entry.reason or why, "")
            all_there = False
            while not all_there:
                all_there = True
                for worker, entry in self._board.assignments(self._clock.monotonic_ns()):
                    payload = self._spool.payload(entry.job.id) if isinstance(entry.job.work, Transcribe) else None
                    entry.job = entry.lost_by(entry.awaited, self._clock.monotonic_ns(), "its worker did not come back")
                    self._spool.lease(entry.job, {**entry.holders, worker.key: entry.attempts + 1})
                    all_there = self._offer(worker, entry, payload) and all_there
                    self._trouble.written()
        self._ahead.give_out()
        unsaid, self._unsaid = self._unsaid, []
        for say in unsaid:
            say()

    def _offer(self, worker: Worker, entry: Entry, payload: bytes | None) -> bool:
        """The attempt is in the spool: the worker gets it. Return False when it is not there: that was no attempt."""
        state = "leased" if entry.waiting else "hedged"
        terms, now_ns = self._terms.hold(0, entry.job), self._clock.monotonic_ns()
        hold = self._board.lease(worker, entry, terms.deadline_ns, terms.late_ns, now_ns=now_ns)
        deadline_ms = (hold.deadline_ns - now_ns) // 1_000_000
        offer = JobLease(lease=entry.lease(hold.attempt), attempt=hold.attempt, deadline_ms=deadline_ms, job=entry.job)
        if not self._peers.tell(worker.key, offer, payload):
            self._board.never_reached(worker, entry)
            self._spool.take_back(entry.job.id, entry.holders)
            return False
        if state == "hedged":
            self._on_count("jobs-hedged", entry.job)
        self._moved(entry.job, JobMoved(job_id=entry.job.id, state=state, attempt=hold.attempt, worker=worker.key))
        return True

    def _in_ns(self, seconds: float) -> int:
        return self._clock.monotonic_ns() + round(seconds * 1e9)

    def _plan_wiping(self, job: Job) -> None:
        """A job is over: its sound is to be overwritten soon, and once nothing is open the log too."""
        now_ns = self._clock.monotonic_ns()
        if isinstance(job.work, Transcribe) and self._sweep_at_ns is None:
            self._sweep_at_ns = now_ns + round(SWEEP_AFTER_S * 1e9)
        self._tidy_at_ns = None if self._board.entries else now_ns + round(TIDY_AFTER_S * 1e9)

    # -- answers --------------------------------------------------------------------------------------------------

    def _say(self, peer: bytes, body: Body) -> None:
        """Answer once the leases are out: the next stage of a turn waits for those, and nobody waits for this."""
        self._unsaid.append(partial(self._peers.send, peer, body))

    def _moved(self, job: Job, moved: JobMoved) -> None:
        self._unsaid.append(partial(self._on_moved, job, moved))


def _first_holder(worker: Worker | None) -> dict[str, int]:
    """Who has the first attempt at a new job."""
    return {worker.key: 1} if worker is not None else {}
