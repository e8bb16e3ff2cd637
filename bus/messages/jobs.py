"""The job plane: what is to be done, and the talk between submitters, workers and the dispatcher."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from bus.messages.base import Body
from bus.messages.turn import Round


class Work(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="stage"):
    """Base of what a job asks for. Its tag is the job's stage, its `queue` the workers that can do it."""

    queue: ClassVar[str] = ""
    in_order: ClassVar[bool] = False
    """Waits until no earlier turn of the same stream has an open job."""
    can_be_hedged: ClassVar[bool] = False
    """Whether a second worker may have the job while the first is late with it. Only work that says nothing while it is done, and of
    which there are several workers."""


class Transcribe(Work, frozen=True, kw_only=True, tag="transcribe"):
    """Speech to text. The payload is mono int16 PCM at 16 kHz."""

    queue: ClassVar[str] = "stt"
    can_be_hedged: ClassVar[bool] = True
    first_sample: int
    audio_ms: int
    speech_ms: int


class Heard(Work, frozen=True, kw_only=True, tag="heard"):
    """A transcript wants an answer."""

    queue: ClassVar[str] = "turn"
    in_order: ClassVar[bool] = True
    transcript: str
    """Empty when nothing was understood."""
    doubtful: bool = False
    rejected: str = ""
    """Why the words were not believed, or empty."""
    speech_ms: int = 0
    """How long the speech was."""


class Recall(Work, frozen=True, kw_only=True, tag="recall"):
    """Find the context of a question and pass both on to the model."""

    queue: ClassVar[str] = "memory"
    transcript: str
    role: str
    system: str
    """The role's prompt."""
    max_tokens: int


class Answer(Work, frozen=True, kw_only=True, tag="answer"):
    """Ask the language model."""

    queue: ClassVar[str] = "llm"
    transcript: str
    role: str
    system: str
    max_tokens: int
    rounds: list[Round]
    """The conversation so far, oldest first."""


class Answered(Work, frozen=True, kw_only=True, tag="answered"):
    """The model's answer is complete."""

    queue: ClassVar[str] = "turn"
    transcript: str
    role: str
    reply: str
    finish_reason: str
    model: str


class Remember(Work, frozen=True, kw_only=True, tag="remember"):
    """Keep the turn. Its times are taken from the job's marks."""

    queue: ClassVar[str] = "memory"
    role: str
    state: str
    transcript: str
    reply: str
    detail: str = ""


class Parked(Work, frozen=True, kw_only=True, tag="parked"):
    """A job of this turn was given up; the user must be told."""

    queue: ClassVar[str] = "turn"
    failed_stage: str
    reason: str
    transcript: str = ""
    aloud: bool = True
    """False: too long ago to be spoken of now; the turn is kept as unanswered."""


AnyWork = Transcribe | Heard | Recall | Answer | Answered | Remember | Parked


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A piece of work that must happen once."""

    turn: str
    stream: str
    work: AnyWork
    revision: int = 0
    marks: dict[str, int] = {}
    """When the turn passed which point, in monotonic ns; see `bus.timings`."""

    @property
    def stage(self) -> str:
        return str(type(self.work).__struct_config__.tag)

    @property
    def queue(self) -> str:
        return self.work.queue

    @property
    def id(self) -> str:
        """Equal ids are the same job."""
        return f"{self.turn}/{self.stage}/{self.revision}"


class JobSubmit(Body, frozen=True, kw_only=True):
    """Do this. The payload goes with the job."""

    topic: ClassVar[str] = "job.submit"
    job: Job


class JobAccepted(Body, frozen=True, kw_only=True):
    """The job is in the spool, now or already."""

    topic: ClassVar[str] = "job.accepted"
    job_id: str
    duplicate: bool


class JobRefused(Body, frozen=True, kw_only=True):
    """The job cannot be taken, and why; submit it again later."""

    topic: ClassVar[str] = "job.refused"
    job_id: str
    reason: str


class WorkerHello(Body, frozen=True, kw_only=True):
    """A worker offers itself with credit 1. Repeated after each loss of contact."""

    topic: ClassVar[str] = "worker.hello"
    queue: str
    lease: str = ""
    """The lease it still holds, or empty."""
    job_id: str = ""
    """The job of that lease."""


class WorkerBye(Body, frozen=True, kw_only=True):
    """A worker leaves; a lease that it holds ends."""

    topic: ClassVar[str] = "worker.bye"


class JobLease(Body, frozen=True, kw_only=True):
    """The worker has this job until the deadline."""

    topic: ClassVar[str] = "job.lease"
    lease: str
    attempt: int
    """Counts from 1."""
    deadline_ms: int
    """From now."""
    job: Job


class JobCancel(Body, frozen=True, kw_only=True):
    """This lease has ended without the worker: it may stop. It ends the lease as ever, and only then gets another."""

    topic: ClassVar[str] = "job.cancel"
    lease: str


class JobExtend(Body, frozen=True, kw_only=True):
    """The worker is still at it, or waits for something: a new deadline."""

    topic: ClassVar[str] = "job.extend"
    lease: str
    job_id: str
    deadline_ms: int
    """From now."""


class JobDone(Body, frozen=True, kw_only=True):
    """The lease ends well. The follow-up jobs are committed together with its removal."""

    topic: ClassVar[str] = "job.done"
    lease: str
    job_id: str
    follow_ups: list[Job]


class JobFailed(Body, frozen=True, kw_only=True):
    """The lease ends badly."""

    topic: ClassVar[str] = "job.failed"
    lease: str
    job_id: str
    reason: str
    retry: bool
    delay_ms: int = 0
    """Not before this time from now."""


class JobSettled(Body, frozen=True, kw_only=True):
    """The end of the lease is in the spool; the worker has credit again."""

    topic: ClassVar[str] = "job.settled"
    lease: str
    accepted: bool
    """False: the lease had ended already and the result was thrown away."""


class JobsQuery(Body, frozen=True, kw_only=True):
    """What is open?"""

    topic: ClassVar[str] = "jobs.query"
    stream: str = ""
    """Only this stream; empty: all."""


class JobInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One open or parked job."""

    job_id: str
    turn: str
    stream: str
    stage: str
    state: str
    """`waiting`, `leased` or `parked`."""
    attempts: int
    worker: str = ""
    """Who has a lease on it: nobody, one, or two with a space between."""
    reason: str = ""
    """Why the last attempt failed."""


class JobsState(Body, frozen=True, kw_only=True):
    """The answer to a query."""

    topic: ClassVar[str] = "jobs.state"
    jobs: list[JobInfo]


class ParkedRetry(Body, frozen=True, kw_only=True):
    """Put these given-up jobs back, each as a new revision with all attempts before it."""

    topic: ClassVar[str] = "parked.retry"
    job_ids: list[str]


class ParkedDrop(Body, frozen=True, kw_only=True):
    """Remove these given-up jobs, and wipe what was said in them."""

    topic: ClassVar[str] = "parked.drop"
    job_ids: list[str]


class ParkedSettled(Body, frozen=True, kw_only=True):
    """The answer to both: which of them were parked, and are not any more."""

    topic: ClassVar[str] = "parked.settled"
    job_ids: list[str]


class JobMoved(Body, frozen=True, kw_only=True):
    """Event: a job changed hands."""

    topic: ClassVar[str] = "job.moved"
    job_id: str
    state: str
    """`submitted`, `leased`, `hedged` (leased to a second worker too), `released` (one of two gave it back, the other goes on),
    `requeued`, `done`, `parked`, `retried` (by the user: no longer parked) or `dropped`."""
    attempt: int = 0
    worker: str = ""
    reason: str = ""
