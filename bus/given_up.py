"""Jobs that are given up: the notice that the user hears, and what he does about them: listed with the open ones, tried again, dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from bus.clock import Clock
from bus.leases import Board, Entry
from bus.losses import Cause
from bus.messages.jobs import MAX_LISTED_JOBS, Job, JobMoved, JobsState, Parked, ParkedSettled, Remember, Say
from bus.moments import Moment
from bus.spool import Spool
from bus.timings import RETRIED

MAX_PARKED = 100
"""Given-up jobs that are kept; then the oldest makes room for the next."""


class GivenUp:
    """Gives up, and takes the user's wishes about what was given up. All of it raises sqlite3.Error, and then nothing was done."""

    def __init__(
        self,
        spool: Spool,
        board: Board,
        clock: Clock,
        moment: Callable[[], Moment],
        *,
        on_count: Callable[[Cause, Job | None], None],
        on_moved: Callable[[Job, JobMoved], None],
        wipe: Callable[[Job], None],
    ) -> None:
        """`wipe` plans that what such a job held is overwritten."""
        self._spool = spool
        self._board = board
        self._clock = clock
        self._moment = moment
        self._on_count = on_count
        self._on_moved = on_moved
        self._wipe = wipe

    def give_up(self, entry: Entry, reason: str, *, aloud: bool = True) -> Entry:
        """Within a transaction: set a job aside, and add the notice from which the user hears of it. A notice itself is replaced.

        Of a reply that could not be spoken the user is owed nothing more: it was shown, and is kept.
        """
        job = entry.lost_by([*entry.awaited, *entry.holds], self._clock.monotonic_ns(), reason)
        work = job.work
        notice: Parked | Remember
        if isinstance(work, Parked):
            self._spool.finish(job.id)
            notice = msgspec.structs.replace(work, aloud=aloud)
        elif isinstance(work, Say):
            self._spool.finish(job.id)
            why = f"not spoken: {reason if aloud else 'the assistant was not running'}"
            notice = msgspec.structs.replace(work.then, detail="; ".join(filter(None, (work.then.detail, why))))
        else:
            self._spool.park(job.id, reason, self._moment().wall_ns)
            notice = Parked(failed_stage=job.stage, reason=reason, transcript=getattr(work, "transcript", ""), aloud=aloud)
        told = Job(turn=job.turn, stream=job.stream, work=notice, revision=job.revision, marks=job.marks, history=job.history)
        if self._spool.knows(told.id):
            told = msgspec.structs.replace(told, revision=self._spool.newest_revision(job.turn) + 1)
        number, _ = self._spool.add(told, entry.turn_order, born=entry.born)
        return Entry(told, number, entry.turn_order, entry.born)

    def park(self, entry: Entry, reason: str, worker: str) -> None:
        """Give up an open job, which `worker` had last, and forget the oldest of those that are too many."""
        job = entry.job
        with self._spool.transaction():
            notice = self.give_up(entry, reason)
            surplus = self._spool.parked()[:-MAX_PARKED]
            for stored in surplus:
                self._spool.finish(stored.job.id)
        self._board.remove(job.id)
        self._board.add(notice)
        self._on_count("jobs-parked", job)
        self._on_moved(job, JobMoved(job_id=job.id, state="parked", attempt=entry.attempts, worker=worker, reason=reason))
        for stored in surplus:
            self.dropped(stored.job, f"more than {MAX_PARKED} jobs were given up, and this one was the oldest")

    def state(self, stream: str) -> JobsState:
        """All open and all given-up jobs, of one stream or (empty) of all."""
        jobs = [entry.info() for entry in self._board.entries.values()] + [stored.info() for stored in self._spool.parked()]
        return JobsState(jobs=[job for job in jobs if stream in ("", job.stream)][:MAX_LISTED_JOBS])

    def retry(self, job_ids: Sequence[str]) -> ParkedSettled:
        """Put given-up jobs back, as the newest revision of their turn: all that follows is new work then, and no repetition."""
        fresh: list[Entry] = []
        with self._spool.transaction():
            parked = [stored for stored in self._spool.parked() if stored.job.id in job_ids]
            for stored in parked:
                job = self._revised(stored.job)
                payload, born = self._spool.payload(stored.job.id), self._moment()
                number, turn_order = self._spool.add(job, None, payload, born=born)
                self._spool.finish(stored.job.id)
                fresh.append(Entry(job, number, turn_order, born))
        for entry in fresh:
            self._board.add(entry)
            self._on_moved(entry.job, JobMoved(job_id=entry.job.id, state="retried"))
        for stored in parked:
            self._wipe(stored.job)
        return ParkedSettled(job_ids=[stored.job.id for stored in parked])

    def drop(self, job_ids: Sequence[str]) -> ParkedSettled:
        """Remove given-up jobs, and wipe what was said in them."""
        parked = [stored for stored in self._spool.parked() if stored.job.id in job_ids]
        with self._spool.transaction():
            for stored in parked:
                self._spool.finish(stored.job.id)
        self._spool.tidy()
        for stored in parked:
            self.dropped(stored.job, "by the user")
        return ParkedSettled(job_ids=[stored.job.id for stored in parked])

    def dropped(self, job: Job, reason: str) -> None:
        """A given-up job is gone: tell of it, and have it wiped."""
        self._wipe(job)
        self._on_count("parked-dropped", job)
        self._on_moved(job, JobMoved(job_id=job.id, state="dropped", reason=reason))

    def _revised(self, job: Job) -> Job:
        """The job as the next revision of its turn. Its times and attempts begin anew, but those of a turn that was only to be
        remembered: that is no late answer, the user has had it."""
        anew: dict[str, Any] = {} if isinstance(job.work, Remember) else {"marks": {RETRIED: self._clock.monotonic_ns()}, "history": []}
        return msgspec.structs.replace(job, revision=self._spool.newest_revision(job.turn) + 1, **anew)
