"""How long a worker may have a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bus.clock import Clock
from bus.leases import Hold
from bus.limits import MAX_UTTERANCE_S
from bus.messages.jobs import Job, Transcribe

USUAL_S = 10.0
PER_AUDIO = 10.0


class Terms:
    """The terms of a lease that is given now."""

    def __init__(self, clock: Clock, deadlines_s: Mapping[str, float], hedge_after_s: float) -> None:
        """`deadlines_s`: by stage, where it is not the usual; `hedge_after_s`: see `jobs.hedge_after_s`."""
        self._clock = clock
        self._deadlines_s = deadlines_s
        self._hedge_after_s = hedge_after_s

    def deadline_ns(self, job: Job) -> int:
        """When it ends. Long sound may take longer."""
        return self._in_ns(self._deadlines_s.get(job.stage, USUAL_S) + PER_AUDIO * _audio_s(job))

    def late_ns(self, job: Job) -> int | None:
        """From when on a second worker may have the job too; None: never."""
        can_be_hedged = job.work.can_be_hedged and self._hedge_after_s > 0
        return self._in_ns(self._hedge_after_s + _audio_s(job)) if can_be_hedged else None

    def hold(self, attempt: int, job: Job) -> Hold:
        """That lease, as of now."""
        return Hold(attempt, self.deadline_ns(job), self.late_ns(job))

    def wanted(self, hold: Hold, job: Job) -> Hold:
        """A lease that began ahead of time, on a job that is wanted now: from now on its worker may be late with it."""
        return replace(hold, deadline_ns=max(hold.deadline_ns, self.deadline_ns(job)), late_ns=self.late_ns(job))

    def _in_ns(self, seconds: float) -> int:
        return self._clock.monotonic_ns() + round(seconds * 1e9)


def _audio_s(job: Job) -> float:
    return min(max(job.work.audio_ms / 1000, 0.0), MAX_UTTERANCE_S) if isinstance(job.work, Transcribe) else 0.0
