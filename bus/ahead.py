"""What is done ahead of time: while silence is still being waited out, or while somebody speaks. Pure: the time is handed in.

A *chain* is the work ahead of one turn: the job that was speculated, then the job that follows of its result, and so on, one after the
other, each leased like any other job but kept in memory alone. It ends in one of two ways. It is *stale*: the speaker goes on, and
whoever works on it is told to stop. Or it is *committed*: its turn is submitted, and the job that the chain has reached (its *tip*)
becomes a job like any other, in the hands of whoever has it; all before it is done.

So nothing hangs on a chain. When its worker dies, or its dispatcher, the work is merely done later, at the usual time.

What is wanted goes first: a chain gets only workers that would else be idle, and gives them back when they are needed. A *partial* is
a chain of one job while somebody still speaks; it never takes the last idle worker, for a pause may come at any moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from bus.leases import Board, Entry, Worker
from bus.messages.jobs import Ahead, Job

MAX_CHAINS = 100
"""One or two for each stream; more come only of somebody who floods, and the oldest gives way."""


@dataclass(frozen=True)
class Cancel:
    """A worker is to be told that its lease has ended."""

    key: str
    lease: str
    job: Job


@dataclass(frozen=True)
class Step:
    """A job of a chain that is done, by whom, under which lease."""

    key: str
    lease: str
    job: Job


@dataclass
class Chain:
    """The work ahead of one turn."""

    entry: Entry
    """The tip. Its attempts are not counted: a lease ahead of time has the number 0."""
    payload: bytes | None
    """Of the tip, if that is the first job."""
    partial: bool = False
    waits: bool = False
    """Nobody gets the tip before the commit: its worker declined it, failed or died."""
    steps: list[Step] = field(default_factory=list)

    @property
    def kind(self) -> Ahead:
        return "partial" if self.partial else "speculative"

    @property
    def first_id(self) -> str:
        """The id of the job with which it began."""
        return (self.steps[0].job if self.steps else self.entry.job).id

    def turn_back(self) -> None:
        """Undo all from the first job on that should have waited for an earlier turn."""
        number = next((number for number, step in enumerate(self.steps) if step.job.work.in_order), None)
        if number is not None:
            self.entry = replace(self.entry, job=self.steps[number].job, holds={})
            del self.steps[number:]


class WorkAhead:
    """All chains. They share the workers of the board, and none of its jobs."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._chains: dict[tuple[str, bool], Chain] = {}

    def begin(self, chain: Chain) -> list[Cancel]:
        """A new chain, in the place of an older one of its turn."""
        turn = chain.entry.job.turn
        if chain.partial and (turn, False) in self._chains:
            return []  # overtaken by its own turn's pause
        cancels = self._drop((turn, chain.partial))
        if not chain.partial:
            cancels += self._drop((turn, True))
        if len(self._chains) >= MAX_CHAINS:
            cancels += self._drop(next(iter(self._chains)))
        self._chains[turn, chain.partial] = chain
        return cancels

    def withdraw(self, turn: str) -> list[Cancel]:
        """The work ahead of this turn is stale."""
        return self._drop((turn, False)) + self._drop((turn, True))

    def commit(self, job: Job, *, blocked: bool) -> tuple[Chain | None, list[Cancel]]:
        """The turn is submitted: return the chain that has been done of it, and it is no chain any more; None when there is none of
        just this job. `blocked`: an earlier turn of its stream is open, so nothing that goes by the order of turns counts."""
        cancels = self._drop((job.turn, True))
        chain = self._chains.get((job.turn, False))
        if chain is None or chain.first_id != job.id:
            return None, cancels + self._drop((job.turn, False))
        del self._chains[job.turn, False]
        if blocked and (chain.entry.job.work.in_order or any(step.job.work.in_order for step in chain.steps)):
            cancels += self.release(chain)
            chain.turn_back()
        return chain, cancels

    def held(self, key: str, lease: str) -> Chain | None:
        """The chain that this worker has under this lease."""
        return next((chain for chain in self._chains.values() if chain.entry.held_as(key, lease) is not None), None)

    def waiting(self, job_id: str) -> Chain | None:
        """The chain whose tip is this job, in nobody's hands: who had it may yet bring the result."""
        found = (chain for chain in self._chains.values() if chain.entry.job.id == job_id and chain.entry.waiting)
        return next(found, None)

    def offers(self) -> Iterator[tuple[Worker, Chain]]:
        """Which idle worker may have which tip now. The caller leases each before it goes on."""
        if not self._chains:
            return
        idle: dict[str, list[Worker]] = {}
        for worker in self._board.workers.values():
            if worker.idle:
                idle.setdefault(worker.queue, []).append(worker)
        for chain in sorted(self._chains.values(), key=lambda chain: chain.partial):
            free = idle.get(chain.entry.job.queue, [])
            if len(free) > chain.partial and chain.entry.waiting and not chain.waits and not self._must_wait(chain.entry.job):
                yield free.pop(), chain

    def make_room(self, now_ns: int) -> list[Cancel]:
        """Take workers back that what is wanted waits for."""
        held = [chain for chain in self._chains.values() if chain.entry.holds]
        if not held:
            return []
        wanted = Counter(entry.job.queue for entry in self._board.ready(now_ns))
        cancels: list[Cancel] = []
        for chain in sorted(held, key=lambda chain: not chain.partial):
            queue = chain.entry.job.queue
            if wanted[queue] > 0:
                wanted[queue] -= 1
                cancels += self.release(chain)
        return cancels

    def go_on(self, chain: Chain, key: str, lease: str, follow_ups: Sequence[Job], now_ns: int) -> None:
        """The tip is done. What follows of it is the new tip; a chain that branches or ends is left as it was for the commit."""
        entry = chain.entry
        history = entry.history(key, lease, now_ns) if key in entry.holds else list(entry.job.history)
        if key in entry.holds:
            self._board.release(entry, key)
        if chain.partial:
            del self._chains[entry.job.turn, True]
            return
        if len(follow_ups) != 1:
            chain.waits = True
            return
        chain.steps.append(Step(key, lease, entry.job))
        chain.entry = replace(entry, job=msgspec.structs.replace(follow_ups[0], history=history), holds={})
        chain.payload, chain.waits = None, False

    def wait(self, chain: Chain, key: str, *, owes: bool = False) -> None:
        """A lease of this chain ended without a result. With `owes` the worker may still be at it."""
        chain.waits = True
        self._board.release(chain.entry, key, owes=owes)

    def gone(self, key: str) -> None:
        """A worker is dead."""
        for chain in self._chains.values():
            if chain.entry.holds.pop(key, None) is not None:
                chain.waits = True

    def expired(self, now_ns: int) -> list[Cancel]:
        """End the leases that have passed their deadline."""
        late = [chain for chain in self._chains.values() if any(hold.deadline_ns <= now_ns for hold in chain.entry.holds.values())]
        cancels: list[Cancel] = []
        for chain in late:
            chain.waits = True
            cancels += self.release(chain)
        return cancels

    def next_change_ns(self) -> int | None:
        """When `expired` has something to say."""
        return min((hold.deadline_ns for chain in self._chains.values() for hold in chain.entry.holds.values()), default=None)

    def _must_wait(self, job: Job) -> bool:
        """Work that goes by the order of turns: all turns that are wanted were spoken before this one."""
        return job.work.in_order and any(entry.job.stream == job.stream for entry in self._board.entries.values())

    def _drop(self, which: tuple[str, bool]) -> list[Cancel]:
        chain = self._chains.pop(which, None)
        return self.release(chain) if chain is not None else []

    def release(self, chain: Chain) -> list[Cancel]:
        """Nobody has the tip any more."""
        entry = chain.entry
        cancels = [Cancel(key, entry.lease(hold.attempt), entry.job) for key, hold in entry.holds.items()]
        for cancel in cancels:
            self._board.release(entry, cancel.key, owes=True)
        return cancels
