"""Who does which job next. Pure: no sockets, no database, and the time is handed in.

The board knows every open job, every worker and every lease. It says what is to be leased, what went back and what has used up its
attempts; the dispatcher writes that down in the spool and tells the workers.

A job has one holder, or two: when the first is late but alive, a second worker that would else be idle may have the job as well (it
is *hedged*), and the first result counts. So a worker that is slow, or that decodes for ever, costs the user seconds and not the whole
of its lease.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

import msgspec

from bus.limits import MAX_MARKS, MAX_SHOWN_REASON
from bus.messages.jobs import Attempt, Job, JobInfo, Parked
from bus.messages.turn import MAX_PAST_ATTEMPTS
from bus.moments import Moment

MAX_HOLDERS = 2
MAX_WORKERS = 1_000
LONGEST_MS = 7_200_000
"""No worker gets a later deadline, or a longer delay, whatever it asks for."""


@dataclass(frozen=True)
class Hold:
    """One worker's lease on one job."""

    attempt: int
    """Counts from 1; 0 for one that began ahead of time."""
    deadline_ns: int
    """The lease ends then."""
    late_ns: int | None = None
    """From then on a second worker may have the job too; None: never."""
    begun_ns: int = 0
    """When the lease began; of one that outlived the dispatcher, when the new dispatcher found it."""

    def extended(self, deadline_ns: int) -> Hold:
        """The same lease until another deadline; before that its worker is not late."""
        return replace(self, deadline_ns=deadline_ns, late_ns=None if self.late_ns is None else deadline_ns)


@dataclass
class Entry:
    """An open job."""

    job: Job
    order: int
    """The order in which jobs came to be."""
    turn_order: int
    """The order of the first job of the same turn: which turn was spoken first."""
    born: Moment
    """When the turn was submitted."""
    attempts: int = 0
    not_before_ns: int = 0
    holds: dict[str, Hold] = field(default_factory=dict)
    """Who has a lease on it, by the worker's key: nobody, one, or two."""
    awaited: dict[str, int] = field(default_factory=dict)
    """Who had which attempt when the dispatcher died, and may still be at it; until `not_before_ns` nobody else gets the job."""
    found_ns: int | None = None
    """When it was found in the spool; None: it came to be in this life of the dispatcher."""
    reason: str = ""
    """Why the last attempt failed."""

    @property
    def waiting(self) -> bool:
        return not self.holds

    @property
    def holders(self) -> dict[str, int]:
        """The attempt of each holder, as it is written down in the spool."""
        return {key: hold.attempt for key, hold in self.holds.items()}

    def lease(self, attempt: int) -> str:
        """Names an attempt; the same before and after a restart of the dispatcher."""
        return f"{self.job.id}#{attempt}"

    def held_as(self, key: str, lease: str) -> Hold | None:
        """The hold that this worker knows by this name, if it still has it."""
        hold = self.holds.get(key)
        return hold if hold is not None and self.lease(hold.attempt) == lease else None

    def attempt_of(self, lease: str) -> int:
        """Which attempt has this name; 0: none of this job."""
        digits = lease.rpartition("#")[2][-9:]
        number = int(digits) if digits.isascii() and digits.isdigit() else 0
        return number if number <= self.attempts and self.lease(number) == lease else 0

    def lost_by(self, keys: Iterable[str], now_ns: int, reason: str) -> Job:
        """The job with a history that tells that these, who have it or are awaited with it, had it in vain."""
        history, attempts = self.job.history, self.awaited | self.holders
        for key in keys:
            history = self._ended(history, key, attempts[key], now_ns, reason)
        return msgspec.structs.replace(self.job, history=history)

    def history(self, key: str, lease: str, now_ns: int) -> list[Attempt]:
        """The history of the turn once this worker's result is taken: who else has the job has it in vain.

        The lease may be one that had been given up. Then its attempt was not lost after all.
        """
        number = self.attempt_of(lease) or self.attempts
        attempts = self.awaited | self.holders
        others = [other for other, attempt in attempts.items() if attempt != number]
        return self._ended(self.lost_by(others, now_ns, "another worker was quicker").history, key, number, now_ns)

    def follow_up(self, job: Job, history: list[Attempt]) -> Job:
        """What follows from this job, as its worker made it, with the history. A worker that began ahead of time may not know yet that
        the turn was submitted: those marks are in our hands alone."""
        marks = {**self.job.marks, **job.marks} if len(self.job.marks) + len(job.marks) <= MAX_MARKS else job.marks
        return msgspec.structs.replace(job, history=history, marks=marks)

    def _ended(self, history: list[Attempt], key: str, number: int, now_ns: int, lost: str = "") -> list[Attempt]:
        """The history with this attempt at its end, once; it may be known as lost already."""
        stage, name = self.job.stage, key.partition("/")[0]
        same = [past for past in history if (past.stage, past.number, bool(past.lost)) == (stage, number, True)]
        hold = self.holds.get(key)
        known_ns = [past.leased_ns for past in same] + [hold.begun_ns if hold is not None else self.found_ns]
        begun_ns = now_ns if known_ns[0] is None else min(known_ns[0], now_ns)
        ended = Attempt(stage=stage, worker=name, number=number, leased_ns=begun_ns, ended_ns=now_ns, lost=lost[:MAX_SHOWN_REASON])
        return [*(past for past in history if past not in same), ended][-MAX_PAST_ATTEMPTS:]

    def info(self) -> JobInfo:
        """What is told of it."""
        job = self.job
        return JobInfo(
            job_id=job.id,
            turn=job.turn,
            stream=job.stream,
            stage=job.stage,
            state="waiting" if self.waiting else "leased",
            attempts=self.attempts,
            worker=" ".join(self.holds),
            reason=self.reason[:MAX_SHOWN_REASON],
        )


@dataclass
class Worker:
    """A process that does jobs of one queue, one at a time."""

    key: str
    """Unique for this life of the actor: `name/incarnation`."""
    queue: str
    job_id: str = ""
    """What it holds."""
    owes: str = ""
    """A lease that ended without it (it ran out, or another's result was first): it may still be at it, and gets no other job until
    it is heard of again."""

    @property
    def idle(self) -> bool:
        return not self.job_id and not self.owes


@dataclass
class Board:
    """All open jobs, all workers, all leases."""

    max_attempts: int
    unserved: frozenset[str] = frozenset()
    """Queues without workers in this configuration."""
    entries: dict[str, Entry] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)

    # -- jobs -----------------------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """Take in a job that is in the spool. The caller has made sure that it is new."""
        self.entries[entry.job.id] = entry

    def first_of_turn(self, turn: str) -> Entry | None:
        """The oldest open job of a turn."""
        known = [entry for entry in self.entries.values() if entry.job.turn == turn]
        return min(known, key=lambda entry: entry.turn_order, default=None)

    def remove(self, job_id: str) -> Entry | None:
        """Forget a job: it is done, given up or dropped. Whoever holds it owes us its end. None when the job was not open."""
        entry = self.entries.pop(job_id, None)
        if entry is not None:
            for key, hold in entry.holds.items():
                self._let_go(key, job_id, owes=entry.lease(hold.attempt))
        return entry

    def release(self, entry: Entry, key: str, *, owes: bool = False) -> None:
        """End one hold without a result; another holder of the job goes on. With `owes` the worker may still be at it."""
        hold = entry.holds.pop(key)
        self._let_go(key, entry.job.id, owes=entry.lease(hold.attempt) if owes else "")

    def exhausted(self, entry: Entry) -> bool:
        """Whether the job has had all its attempts. A `parked` notice itself is tried for ever: it is the last word to the user."""
        return entry.attempts >= self.max_attempts and not isinstance(entry.job.work, Parked)

    def _let_go(self, key: str, job_id: str, *, owes: str) -> None:
        worker = self.workers.get(key)
        if worker is not None and worker.job_id == job_id:
            worker.job_id = ""
            worker.owes = owes

    # -- workers --------------------------------------------------------------------------------------------------

    def hello(self, key: str, queue: str, lease: str = "") -> None:
        """A worker offers itself; `lease` is what it has in its hands, and no other job comes before the end of that."""
        worker = self.workers.setdefault(key, Worker(key, queue))
        if len(self.workers) > MAX_WORKERS:  # whoever is forgotten wrongly says hello again
            del self.workers[next(other for other, found in self.workers.items() if not found.job_id)]
        worker.queue = queue
        worker.owes = "" if worker.job_id else lease

    def resume(self, key: str, entry: Entry, hold: Hold) -> bool:
        """A worker reminds a new dispatcher of the attempt that it holds; return whether it may go on with it."""
        worker = self.workers[key]
        if key in entry.holds:
            return entry.holds[key].attempt == hold.attempt
        taken = {other.attempt for other in entry.holds.values()}
        full = len(entry.holds) >= (MAX_HOLDERS if entry.job.work.can_be_hedged else 1)
        is_known = 1 <= hold.attempt <= entry.attempts or entry.awaited.get(key) == hold.attempt
        if worker.job_id or full or hold.attempt in taken or not is_known:
            return False
        self._take(worker, entry, hold if entry.found_ns is None else replace(hold, begun_ns=entry.found_ns))
        return True

    def credit(self, key: str, lease: str) -> bool:
        """A worker has told how this lease of its ended, and does not owe us that any more; return whether it did."""
        worker = self.workers.get(key)
        if worker is None or not lease or worker.owes != lease:
            return False
        worker.owes = ""
        return True

    def predecessors(self, key: str) -> list[str]:
        """Earlier lives of the same actor: they are dead, for there is never more than one."""
        name = key.partition("/")[0]
        known = {*self.workers, *(awaited for entry in self.entries.values() for awaited in entry.awaited)}
        return [other for other in known if other.partition("/")[0] == name and other != key]

    def gone(self, key: str, now_ns: int, reason: str) -> Entry | None:
        """A worker is dead; return the job that it holds, which the caller releases. Nobody waits for it any more."""
        for entry in self.awaiting(key):
            self.give_up_waiting(entry, key, 0, now_ns, reason)
        worker = self.workers.pop(key, None)
        return self.entries.get(worker.job_id) if worker is not None and worker.job_id else None

    def awaiting(self, key: str) -> list[Entry]:
        """The jobs that wait for this worker to come back with them."""
        return [entry for entry in self.entries.values() if key in entry.awaited]

    def give_up_waiting(self, entry: Entry, key: str, not_before_ns: int, now_ns: int, reason: str) -> None:
        """This worker will not come back with the job; when nobody else may, it is free from `not_before_ns` on."""
        entry.job = entry.lost_by([key], now_ns, reason)
        del entry.awaited[key]
        if not entry.awaited:
            entry.not_before_ns = not_before_ns

    # -- leases ---------------------------------------------------------------------------------------------------

    def assignments(self, now_ns: int) -> Iterator[tuple[Worker, Entry]]:
        """Which idle worker is to get which job now. The caller calls `lease` for each before it goes on.

        Oldest job first; but a job that has failed twice comes after the others, so that one that kills its workers does not keep
        them from everybody else. Who is still idle then may help with a job whose worker is late.
        """
        idle: dict[str, list[Worker]] = {}
        for worker in self.workers.values():
            if worker.idle:
                idle.setdefault(worker.queue, []).append(worker)
        if not idle:
            return
        first_turn = self._first_turns()
        for entry in sorted(self.entries.values(), key=lambda entry: (entry.attempts > 1, entry.order)):
            free = idle.get(entry.job.queue)
            if free and self._is_ready(entry, now_ns) and not self.exhausted(entry) and not _must_wait(entry, first_turn):
                yield free.pop(0), entry
        wanted = {entry.job.queue for entry in self.entries.values() if entry.waiting}
        for entry in sorted(self.entries.values(), key=lambda entry: entry.order):
            free = idle.get(entry.job.queue)
            if free and entry.job.queue not in wanted and self.is_late(entry, now_ns):
                yield free.pop(0), entry

    def is_late(self, entry: Entry, now_ns: int) -> bool:
        """Whether a second worker may have the job as well."""
        late = [hold.late_ns for hold in entry.holds.values() if hold.late_ns is not None and hold.late_ns <= now_ns]
        return bool(late) and len(entry.holds) + len(entry.awaited) < MAX_HOLDERS and not self.exhausted(entry)

    def spent(self, now_ns: int) -> list[Entry]:
        """Jobs that have had all their attempts and that nobody may come back with any more: the dispatcher was dead when the last
        attempt ended, or died of it. And jobs for which there is no worker in this configuration."""
        due = (entry for entry in self.entries.values() if self._is_ready(entry, now_ns))
        return [entry for entry in due if self.exhausted(entry) or self.is_unserved(entry)]

    def is_unserved(self, entry: Entry) -> bool:
        """Whether nobody can ever have the job: the configuration that its queue belonged to is gone."""
        return entry.job.queue in self.unserved

    def taker(self, job: Job, turn_order: int, ending: str, taken: Collection[str]) -> Worker | None:
        """Who may have a job at once that is about to come to be, in the same step in which the job `ending` ends and the workers
        `taken` get others. None also where that is not plain: then `assignments` decides after the step."""
        worker = next((each for each in self.workers.values() if each.queue == job.queue and each.idle and each.key not in taken), None)
        if worker is None:
            return None
        others = [entry for entry in self.entries.values() if entry.job.id != ending]
        if any(entry.waiting and entry.job.queue == job.queue for entry in others):
            return None
        if job.work.in_order and any(entry.turn_order < turn_order and entry.job.stream == job.stream for entry in others):
            return None
        return worker

    def lease(self, worker: Worker, entry: Entry, deadline_ns: int, late_ns: int | None = None, *, now_ns: int) -> Hold:
        """The worker has the job from now on."""
        entry.attempts += 1
        entry.awaited.clear()
        hold = Hold(entry.attempts, deadline_ns, late_ns, now_ns)
        self._take(worker, entry, hold)
        return hold

    def lease_ahead(self, worker: Worker, entry: Entry, deadline_ns: int, *, now_ns: int) -> Hold:
        """The worker has a job that is not wanted yet. That is no attempt."""
        hold = Hold(0, deadline_ns, None, now_ns)
        self._take(worker, entry, hold)
        return hold

    def ready(self, now_ns: int) -> Iterator[Entry]:
        """The jobs that could be done now, if there were a worker."""
        first_turn = self._first_turns()
        for entry in self.entries.values():
            if self._is_ready(entry, now_ns) and not self.exhausted(entry) and not _must_wait(entry, first_turn):
                yield entry

    def never_reached(self, worker: Worker, entry: Entry) -> None:
        """The worker is not there, so that was no attempt. It will say hello when it is back."""
        entry.attempts -= 1
        self.release(entry, worker.key)
        del self.workers[worker.key]

    def expired(self, now_ns: int) -> list[tuple[Entry, str]]:
        """Leases that have passed their deadline, each with its worker's key."""
        return [(entry, key) for entry in self.entries.values() for key, hold in entry.holds.items() if hold.deadline_ns <= now_ns]

    def next_change_ns(self, now_ns: int) -> int | None:
        """When something is to be done although nobody says anything: a deadline, a worker that gets late, the end of a delay."""
        holds = [hold for entry in self.entries.values() for hold in entry.holds.values()]
        times = [hold.deadline_ns for hold in holds]
        times += [hold.late_ns for hold in holds if hold.late_ns is not None and hold.late_ns > now_ns]
        times += [entry.not_before_ns for entry in self.entries.values() if entry.waiting and entry.not_before_ns > now_ns]
        return min(times, default=None)

    def _take(self, worker: Worker, entry: Entry, hold: Hold) -> None:
        worker.job_id = entry.job.id
        worker.owes = ""
        entry.holds[worker.key] = hold
        entry.awaited.pop(worker.key, None)

    @staticmethod
    def _is_ready(entry: Entry, now_ns: int) -> bool:
        return entry.waiting and entry.not_before_ns <= now_ns

    def _first_turns(self) -> dict[str, int]:
        """The earliest turn of each stream that has an open job."""
        first: dict[str, int] = {}
        for entry in self.entries.values():
            stream = entry.job.stream
            first[stream] = min(entry.turn_order, first.get(stream, entry.turn_order))
        return first


def _must_wait(entry: Entry, first_turn: dict[str, int]) -> bool:
    """Turns of one stream are taken in the order in which they were spoken."""
    return entry.job.work.in_order and first_turn[entry.job.stream] < entry.turn_order


def bounded_ms(milliseconds: int) -> int:
    """What a worker asks for, within reason."""
    return min(max(milliseconds, 0), LONGEST_MS)
