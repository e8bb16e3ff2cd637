"""Who does which job next. Pure: no sockets, no database, and the time is handed in.

The board knows every open job, every worker and every lease. It says what is to be leased, what went back and what is to be
parked; the dispatcher writes that down in the spool and tells the workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bus.messages.jobs import Job, Parked


@dataclass
class Entry:
    """An open or parked job."""

    job: Job
    order: int
    """The order in which jobs came to be."""
    turn_order: int
    """The order of the first job of the same turn: which turn was spoken first."""
    attempts: int = 0
    not_before_ns: int = 0
    worker: str = ""
    """Who has the lease, or empty."""
    deadline_ns: int = 0
    awaited: str = ""
    """Who had the lease when the dispatcher died, and may still be at it; until `not_before_ns` nobody else gets the job."""
    parked: bool = False
    reason: str = ""

    @property
    def lease(self) -> str:
        """Names the attempt; the same before and after a restart of the dispatcher."""
        return f"{self.job.id}#{self.attempts}"

    @property
    def waiting(self) -> bool:
        return not self.parked and not self.worker


@dataclass
class Worker:
    """A process that does jobs of one queue, one at a time."""

    key: str
    """Unique for this life of the actor: `name/incarnation`."""
    queue: str
    job_id: str = ""
    late: bool = False
    """It let a lease run out and gets no other until it is heard of again."""


@dataclass
class Board:
    """All open jobs, all workers, all leases."""

    max_attempts: int
    entries: dict[str, Entry] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)

    # -- jobs -----------------------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """Take in a job that is in the spool. The caller has made sure that it is new."""
        self.entries[entry.job.id] = entry

    def turn_order(self, job: Job, new_order: int) -> int:
        """The place of the job's turn among the turns: that of its first job that is still known, else a new one."""
        known = [entry.turn_order for entry in self.entries.values() if entry.job.turn == job.turn]
        return min(known, default=new_order)

    def remove(self, job_id: str) -> Entry | None:
        """Forget a job (it is done, or was dropped); whoever holds it is free. None when it was not open."""
        entry = self.entries.pop(job_id, None)
        if entry is not None:
            self._free(entry)
        return entry

    def put_back(self, entry: Entry, reason: str, not_before_ns: int) -> None:
        """End a lease without a result; the job waits for the next worker."""
        self._free(entry)
        entry.reason = reason
        entry.not_before_ns = not_before_ns

    def park(self, entry: Entry, reason: str) -> None:
        """Give a job up. It stays, for the user to see."""
        self._free(entry)
        entry.parked = True
        entry.reason = reason

    def exhausted(self, entry: Entry) -> bool:
        """Whether the job has had all its attempts. A `parked` notice itself is tried for ever: it is the last word to the user."""
        return entry.attempts >= self.max_attempts and not isinstance(entry.job.work, Parked)

    def _free(self, entry: Entry) -> None:
        holder = self.workers.get(entry.worker)
        if holder is not None and holder.job_id == entry.job.id:
            holder.job_id = ""
        entry.worker = ""

    # -- workers --------------------------------------------------------------------------------------------------

    def hello(self, key: str, queue: str, held_job_id: str) -> None:
        """A worker offers itself, or reminds a new dispatcher of what it holds."""
        worker = self.workers.setdefault(key, Worker(key, queue))
        worker.queue = queue
        worker.late = False
        entry = self.entries.get(held_job_id)
        if entry is not None and entry.waiting and not worker.job_id:
            entry.worker = key
            entry.awaited = ""
            worker.job_id = held_job_id

    def credit(self, key: str) -> None:
        """A worker ended its lease and can have another."""
        worker = self.workers.get(key)
        if worker is not None:
            worker.late = False

    def predecessors(self, key: str) -> list[str]:
        """Earlier lives of the same actor: they are dead, for there is never more than one."""
        name = key.partition("/")[0]
        known = {*self.workers, *(entry.awaited for entry in self.entries.values())}
        return [other for other in known if other.partition("/")[0] == name and other != key]

    def gone(self, key: str) -> Entry | None:
        """A worker is dead; return the job that it held, which the caller puts back or parks. Nobody waits for it any more."""
        for entry in self.awaiting(key):
            entry.awaited, entry.not_before_ns = "", 0
        worker = self.workers.pop(key, None)
        return self.entries.get(worker.job_id) if worker is not None and worker.job_id else None

    def awaiting(self, key: str) -> list[Entry]:
        """The jobs that wait for this worker to come back with them."""
        return [entry for entry in self.entries.values() if entry.awaited == key]

    # -- leases ---------------------------------------------------------------------------------------------------

    def assignments(self, now_ns: int) -> Iterator[tuple[Worker, Entry]]:
        """Which idle worker is to get which job now, oldest job first. The caller calls `lease` for each before it goes on."""
        idle: dict[str, list[Worker]] = {}
        for worker in self.workers.values():
            if not worker.job_id and not worker.late:
                idle.setdefault(worker.queue, []).append(worker)
        if not idle:
            return
        for entry in sorted(self.entries.values(), key=lambda entry: entry.order):
            free = idle.get(entry.job.queue)
            if free and entry.waiting and entry.not_before_ns <= now_ns and not self._must_wait(entry):
                yield free.pop(0), entry

    def lease(self, worker: Worker, entry: Entry, deadline_ns: int) -> None:
        """The worker has the job from now on."""
        worker.job_id = entry.job.id
        entry.worker = worker.key
        entry.awaited = ""
        entry.attempts += 1
        entry.deadline_ns = deadline_ns

    def expired(self, now_ns: int) -> list[Entry]:
        """Leases that have passed their deadline; their workers get no other until they are heard of again."""
        late = [entry for entry in self.entries.values() if entry.worker and entry.deadline_ns <= now_ns]
        for entry in late:
            if entry.worker in self.workers:
                self.workers[entry.worker].late = True
        return late

    def next_change_ns(self, now_ns: int) -> int | None:
        """When something is to be done although nobody says anything: a deadline, or the end of a delay."""
        deadlines = [entry.deadline_ns for entry in self.entries.values() if entry.worker]
        delays = [entry.not_before_ns for entry in self.entries.values() if entry.waiting and entry.not_before_ns > now_ns]
        return min([*deadlines, *delays], default=None)

    def _must_wait(self, entry: Entry) -> bool:
        """Turns of one stream are taken in the order in which they were spoken."""
        if not entry.job.work.in_order:
            return False
        return any(
            other.turn_order < entry.turn_order and other.job.stream == entry.job.stream and not other.parked
            for other in self.entries.values()
        )
