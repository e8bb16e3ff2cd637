"""The dispatcher's side of work ahead of time: the chains of `ahead.py` between the messages that begin them and those that end them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from bus.ahead import Cancel, Chain, WorkAhead
from bus.clock import Clock
from bus.leases import Board, Entry, bounded_ms
from bus.messages.jobs import Job, JobCancel, JobCommitted, JobDone, JobExtend, JobLease, JobMoved, JobSpeculate
from bus.moments import Moment
from bus.peers import Peers


@dataclass(frozen=True)
class Committed:
    """A turn that is submitted, with what was done of it ahead of time."""

    tip: Job
    """The job that is to be done, or is being done."""
    holders: Mapping[str, int]
    """Who has it already."""
    done: list[str]
    """The ids of the jobs before it."""


class AheadDesk:
    """Begins, leases, moves on and ends chains, and tells their workers. Nothing here is written down."""

    def __init__(
        self,
        board: Board,
        peers: Peers,
        clock: Clock,
        *,
        deadline_ns: Callable[[Job], int],
        on_moved: Callable[[Job, JobMoved], None],
    ) -> None:
        self._board = board
        self._peers = peers
        self._clock = clock
        self._deadline_ns = deadline_ns
        self._on_moved = on_moved
        self._ahead = WorkAhead(board)

    def speculate(self, wish: JobSpeculate, payload: bytes | None, born: Moment) -> None:
        """Begin a chain."""
        entry = Entry(wish.job, order=0, turn_order=0, born=born)
        self._cancel(self._ahead.begin(Chain(entry, payload, wish.partial)))

    def withdraw(self, turn: str) -> None:
        """The speaker goes on."""
        self._cancel(self._ahead.withdraw(turn))

    def commit(self, job: Job, *, blocked: bool) -> tuple[Chain | None, Committed]:
        """A turn is submitted: what is to be done for it now. `written` is to be called once that is in the spool, or `abandon`."""
        chain, cancels = self._ahead.commit(job, blocked=blocked)
        self._cancel(cancels)
        if chain is None:
            return None, Committed(job, {}, [])
        chain.entry.job = _marked(chain.entry.job, job)
        return chain, Committed(chain.entry.job, chain.entry.holders, [step.job.id for step in chain.steps])

    def written(self, chain: Chain, job: Job) -> None:
        """The commit is in the spool: tell all who had a part in it, first the one who may be at it still."""
        for key, hold in chain.entry.holds.items():
            self._peers.tell(key, JobCommitted(lease=chain.entry.lease(hold.attempt), job=chain.entry.job))
        for step in chain.steps:
            self._peers.tell(step.key, JobCommitted(lease=step.lease, job=_marked(step.job, job)))
        self._on_moved(chain.entry.job, JobMoved(job_id=chain.entry.job.id, state="committed", worker=" ".join(chain.entry.holds)))

    def abandon(self, chain: Chain) -> None:
        """The commit could not be written down: it comes again, and then as a turn like any other."""
        self._cancel(self._ahead.release(chain))

    def holds(self, key: str, lease: str) -> bool:
        """Whether the worker has this lease on a chain."""
        return self._ahead.held(key, lease) is not None

    def done(self, key: str, done: JobDone) -> bool:
        """A worker's result; return whether it was of a chain."""
        chain = self._ahead.held(key, done.lease) or self._ahead.waiting(done.job_id)
        if chain is None:
            return False
        self._ahead.go_on(chain, key, done.lease, done.follow_ups, self._clock.monotonic_ns())
        return True

    def wait(self, key: str, lease: str) -> bool:
        """A worker could not do its job, or will not before it is wanted; return whether it was of a chain."""
        chain = self._ahead.held(key, lease)
        if chain is not None:
            self._ahead.wait(chain, key)
        return chain is not None

    def extend(self, key: str, extend: JobExtend) -> None:
        """A worker is still at it."""
        chain = self._ahead.held(key, extend.lease)
        if chain is not None:
            deadline_ns = self._clock.monotonic_ns() + bounded_ms(extend.deadline_ms) * 1_000_000
            chain.entry.holds[key] = chain.entry.holds[key].extended(deadline_ns)

    def gone(self, key: str) -> None:
        """A worker is dead."""
        self._ahead.gone(key)

    def tick(self) -> None:
        """End the leases that have run out."""
        self._cancel(self._ahead.expired(self._clock.monotonic_ns()))

    def next_change_ns(self) -> int | None:
        """When `tick` has something to do."""
        return self._ahead.next_change_ns()

    def give_out(self) -> None:
        """Make room for what is wanted, then lease what can be done ahead. To be called when nothing else can be leased."""
        now_ns = self._clock.monotonic_ns()
        self._cancel(self._ahead.make_room(now_ns))
        for worker, chain in self._ahead.offers():
            job, deadline_ns = chain.entry.job, self._deadline_ns(chain.entry.job)
            hold = self._board.lease_ahead(worker, chain.entry, deadline_ns, now_ns=now_ns)
            lease = chain.entry.lease(hold.attempt)
            offer = JobLease(lease=lease, attempt=0, deadline_ms=(deadline_ns - now_ns) // 1_000_000, job=job, ahead=chain.kind)
            if not self._peers.tell(worker.key, offer, chain.payload):
                self._ahead.wait(chain, worker.key)
                del self._board.workers[worker.key]
                return  # the others get theirs at the next word of anybody
            self._on_moved(job, JobMoved(job_id=job.id, state="ahead", worker=worker.key, reason=chain.kind))

    def _cancel(self, cancels: list[Cancel]) -> None:
        for cancel in cancels:
            self._peers.tell(cancel.key, JobCancel(lease=cancel.lease))
            self._on_moved(cancel.job, JobMoved(job_id=cancel.job.id, state="stale", worker=cancel.key))


def _marked(job: Job, submitted: Job) -> Job:
    """A job of a chain with the marks of the submission too."""
    return msgspec.structs.replace(job, marks={**job.marks, **submitted.marks})
