"""The actor `dialogue`: a worker of the queue `turn`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.dialogue.turns import Step, manner, next_step
from bus.messages.jobs import Heard, Job
from bus.messages.reply import ReplyDelta, ReplyFinished, ReplyStarted
from bus.timings import FIRST_CLAUSE, FIRST_TOKEN, LAST_TOKEN, TURN_END, TURN_START

if TYPE_CHECKING:
    from actors.actor import Runtime
    from bus.jobs import Lease

LOCAL_MODEL = "local"
AFTER_THE_MODEL = 1000
"""Added to the attempt number of words that replace a model's answer: a reader shows only a turn's newest attempt, and the model
has had `jobs.max_attempts`, 100 at most."""


class Dialogue:
    """Decides each turn's next step, and says what needs no model."""

    def __init__(self, runtime: Runtime) -> None:
        """Raise SetupError when the configured role does not exist."""
        self._runtime = runtime
        self._manner = manner(runtime.settings.dialogue)
        runtime.work("turn", self._on_lease)

    def close(self) -> None:
        """Nothing is held."""

    def _on_lease(self, lease: Lease) -> None:
        job = lease.job
        start_ns = self._runtime.clock.monotonic_ns()
        step = next_step(self._manner, job.work)
        if step.say:
            self._say(step.say, lease)
        if step.then is None:
            self._runtime.log.warning("turn not remembered", turn=job.turn)
            lease.done()
            return
        marks = self._marks(job, step, start_ns)
        lease.done([Job(turn=job.turn, stream=job.stream, work=step.then, revision=job.revision, marks=marks)])

    def _marks(self, job: Job, step: Step, start_ns: int) -> dict[str, int]:
        """The job's marks and ours. What was marked when the turn was heard stays: a turn comes by here twice."""
        now_ns = self._runtime.clock.monotonic_ns()
        marks = {TURN_START: start_ns, TURN_END: now_ns, **job.marks}
        if step.say:
            marks |= {FIRST_TOKEN: now_ns, FIRST_CLAUSE: now_ns, LAST_TOKEN: now_ns}
        return marks

    def _say(self, text: str, lease: Lease) -> None:
        job = lease.job
        attempt = lease.reply_number + (0 if isinstance(job.work, Heard) else AFTER_THE_MODEL)
        for body in (
            ReplyStarted(attempt=attempt, model=LOCAL_MODEL),
            ReplyDelta(attempt=attempt, index=0, text=text),
            ReplyFinished(attempt=attempt, text=text, finish_reason="local"),
        ):
            self._runtime.publish(body, turn=job.turn, stream=job.stream)
