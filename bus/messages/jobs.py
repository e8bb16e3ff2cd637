"""The job plane: what is to be done, and the talk between submitters, workers and the dispatcher."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from bus.limits import MAX_MARKS
from bus.messages.base import AudioMs, Body, Count, DeadlineMs, Key, Line, Name, Nanoseconds, PlainName, Reason, Text
from bus.messages.turn import MAX_PAST_ATTEMPTS, LastTurn, LostReason, Round

MAX_FOLLOW_UPS = 64
MAX_REVISION = 1_000_000
MAX_LISTED_JOBS = 500
Revision = Annotated[int, Meta(ge=0, le=MAX_REVISION)]
Ahead = Literal["", "speculative", "partial"]


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
    first_sample: Count
    audio_ms: AudioMs
    speech_ms: AudioMs
    guess: Text = ""
    """The words that the last partial of this turn had, if this is to be one."""
    guess_stable_chars: Count = 0
    """So many of its first characters are confirmed."""


class Heard(Work, frozen=True, kw_only=True, tag="heard"):
    """A transcript wants an answer."""

    queue: ClassVar[str] = "turn"
    in_order: ClassVar[bool] = True
    transcript: Text
    """Empty when nothing was understood."""
    doubtful: bool = False
    rejected: Line = ""
    """Why the words were not believed, or empty."""
    speech_ms: AudioMs = 0
    """How long the speech was."""


class LookBack(Work, frozen=True, kw_only=True, tag="look-back"):
    """What becomes of this hangs on what was said last in the stream: find that."""

    queue: ClassVar[str] = "memory"
    heard: Heard
    """Without the wake phrase."""
    addressed: bool
    """Whether it is known to be for the assistant."""

    @property
    def transcript(self) -> str:
        return self.heard.transcript


class LookedBack(Work, frozen=True, kw_only=True, tag="looked-back"):
    """A transcript wants an answer, and this came before it."""

    queue: ClassVar[str] = "turn"
    heard: Heard
    addressed: bool
    last: LastTurn | None
    """The last turn of the stream in which something was said or done. None: there is none, or it cannot be read."""
    answer: Text
    """The last answer of the stream; empty: there is none."""

    @property
    def transcript(self) -> str:
        return self.heard.transcript


class Recall(Work, frozen=True, kw_only=True, tag="recall"):
    """Find the context of a question and pass both on to the model."""

    queue: ClassVar[str] = "memory"
    transcript: Text
    role: Line
    system: Text
    """The role's prompt."""
    max_tokens: Count


class Answer(Work, frozen=True, kw_only=True, tag="answer"):
    """Ask the language model."""

    queue: ClassVar[str] = "llm"
    transcript: Text
    role: Line
    system: Text
    max_tokens: Count
    rounds: list[Round]
    """The conversation so far, oldest first."""


class Answered(Work, frozen=True, kw_only=True, tag="answered"):
    """The model's answer is complete."""

    queue: ClassVar[str] = "turn"
    transcript: Text
    role: Line
    reply: Text
    finish_reason: Line
    model: Line
    attempt: Count = 0
    """The number of the reply, as in `reply.*`."""


class Remember(Work, frozen=True, kw_only=True, tag="remember"):
    """Keep the turn. Its times are taken from the job's marks."""

    queue: ClassVar[str] = "memory"
    role: Line
    state: Name
    transcript: Text
    reply: Text
    detail: Line = ""


class Say(Work, frozen=True, kw_only=True, tag="say"):
    """Say the reply aloud, all that has not been heard of it yet. It may have been begun from the events."""

    queue: ClassVar[str] = "say"
    attempt: Count
    """The number of the reply, as in `reply.*`."""
    then: Remember
    """What follows, with the whole reply in it. Of a reply that was cut it keeps what was heard."""


class Parked(Work, frozen=True, kw_only=True, tag="parked"):
    """A job of this turn was given up; the user must be told."""

    queue: ClassVar[str] = "turn"
    failed_stage: Name
    reason: Reason
    transcript: Text = ""
    aloud: bool = True
    """False: too long ago to be spoken of now; the turn is kept as unanswered."""


AnyWork = Transcribe | Heard | LookBack | LookedBack | Recall | Answer | Answered | Say | Remember | Parked


class Attempt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A lease that has ended: who had which job of the turn, and for how long."""

    stage: Name
    worker: Name
    """The name of the actor."""
    number: Count
    """Counts from 1 within the job."""
    leased_ns: Nanoseconds
    """Monotonic. Of a lease that outlived the dispatcher: when the new dispatcher found it."""
    ended_ns: Nanoseconds
    """Monotonic."""
    lost: LostReason = ""
    """Why it came to nothing; empty: its result was taken."""


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A piece of work that must happen once."""

    turn: PlainName
    stream: PlainName
    work: AnyWork
    revision: Revision = 0
    """How much of the turn had been heard: the number of frames of its sound. Tried again by the user, it counts on from there."""
    marks: Annotated[dict[Name, Nanoseconds], Meta(max_length=MAX_MARKS)] = {}
    """When the turn passed which point, in monotonic ns; see `bus.timings`."""
    history: Annotated[list[Attempt], Meta(max_length=MAX_PAST_ATTEMPTS)] = []
    """What was done for the turn so far, and what was tried in vain. Written by the dispatcher alone."""

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
    job_id: Key
    duplicate: bool
    revision: Revision = 0
    """Of the turn's speech that is in the spool: another than the submitter's own when a predecessor of his ended the utterance
    elsewhere. What it holds is not taken twice."""


class JobSpeculate(Body, frozen=True, kw_only=True):
    """Do this ahead of time: the turn may yet go on. The payload goes with the job. Not acknowledged; what was ahead of the same turn
    before is void. Submitting the same job commits what was done."""

    topic: ClassVar[str] = "job.speculate"
    job: Job
    partial: bool = False
    """Only if there is room, and nothing follows of it: somebody is still speaking."""


class JobWithdraw(Body, frozen=True, kw_only=True):
    """What is done ahead of this turn is void: its speaker goes on, or said nothing."""

    topic: ClassVar[str] = "job.withdraw"
    turn: PlainName


class JobRefused(Body, frozen=True, kw_only=True):
    """The job cannot be taken, and why; submit it again later."""

    topic: ClassVar[str] = "job.refused"
    job_id: Key
    reason: Line


class WorkerHello(Body, frozen=True, kw_only=True):
    """A worker offers itself with credit 1. Repeated after each loss of contact."""

    topic: ClassVar[str] = "worker.hello"
    queue: Name
    lease: Key = ""
    """The lease it still holds, or empty."""
    job_id: Key = ""
    """The job of that lease."""


class WorkerBye(Body, frozen=True, kw_only=True):
    """A worker leaves; a lease that it holds ends."""

    topic: ClassVar[str] = "worker.bye"


class JobLease(Body, frozen=True, kw_only=True):
    """The worker has this job until the deadline."""

    topic: ClassVar[str] = "job.lease"
    lease: Key
    attempt: Count
    """Counts from 1."""
    deadline_ms: DeadlineMs
    """From now."""
    job: Job
    ahead: Ahead = ""
    """Empty: the job is wanted. `speculative`: the turn may yet go on, so nothing of this may be seen or heard outside until it is
    committed. `partial`: the speaker has not even paused."""


class JobCommitted(Body, frozen=True, kw_only=True):
    """A job that was leased as speculative is wanted: its result, past or to come, counts."""

    topic: ClassVar[str] = "job.committed"
    lease: Key
    job: Job
    """With the marks that it has now."""


class JobDeclined(Body, frozen=True, kw_only=True):
    """The worker does not do this ahead of time. The job waits for the commit."""

    topic: ClassVar[str] = "job.declined"
    lease: Key
    job_id: Key


class JobCancel(Body, frozen=True, kw_only=True):
    """This lease has ended without the worker: it may stop. It ends the lease as ever, and only then gets another."""

    topic: ClassVar[str] = "job.cancel"
    lease: Key


class JobExtend(Body, frozen=True, kw_only=True):
    """The worker is still at it, or waits for something: a new deadline."""

    topic: ClassVar[str] = "job.extend"
    lease: Key
    job_id: Key
    deadline_ms: DeadlineMs
    """From now."""


class JobDone(Body, frozen=True, kw_only=True):
    """The lease ends well. The follow-up jobs are committed together with its removal."""

    topic: ClassVar[str] = "job.done"
    lease: Key
    job_id: Key
    follow_ups: Annotated[list[Job], Meta(max_length=MAX_FOLLOW_UPS)]


class JobFailed(Body, frozen=True, kw_only=True):
    """The lease ends badly."""

    topic: ClassVar[str] = "job.failed"
    lease: Key
    job_id: Key
    reason: Reason
    retry: bool
    delay_ms: DeadlineMs = 0
    """Not before this time from now."""


class JobSettled(Body, frozen=True, kw_only=True):
    """The end of the lease is in the spool; the worker has credit again."""

    topic: ClassVar[str] = "job.settled"
    lease: Key
    accepted: bool
    """False: the lease had ended already and the result was thrown away."""


class JobsQuery(Body, frozen=True, kw_only=True):
    """What is open?"""

    topic: ClassVar[str] = "jobs.query"
    stream: Name = ""
    """Only this stream; empty: all."""


class JobInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One open or parked job."""

    job_id: Key
    turn: Name
    stream: Name
    stage: Name
    state: Name
    """`waiting`, `leased` or `parked`."""
    attempts: Count
    worker: Line = ""
    """Who has a lease on it: nobody, one, or two with a space between."""
    reason: Line = ""
    """Why the last attempt failed."""


class JobsState(Body, frozen=True, kw_only=True):
    """The answer to a query."""

    topic: ClassVar[str] = "jobs.state"
    jobs: Annotated[list[JobInfo], Meta(max_length=MAX_LISTED_JOBS)]


class ParkedRetry(Body, frozen=True, kw_only=True):
    """Put these given-up jobs back, each as a new revision with all attempts before it."""

    topic: ClassVar[str] = "parked.retry"
    job_ids: Annotated[list[Key], Meta(max_length=MAX_LISTED_JOBS)]


class ParkedDrop(Body, frozen=True, kw_only=True):
    """Remove these given-up jobs, and wipe what was said in them."""

    topic: ClassVar[str] = "parked.drop"
    job_ids: Annotated[list[Key], Meta(max_length=MAX_LISTED_JOBS)]


class ParkedSettled(Body, frozen=True, kw_only=True):
    """The answer to both: which of them were parked, and are not any more."""

    topic: ClassVar[str] = "parked.settled"
    job_ids: Annotated[list[Key], Meta(max_length=MAX_LISTED_JOBS)]


class JobMoved(Body, frozen=True, kw_only=True):
    """Event: a job changed hands."""

    topic: ClassVar[str] = "job.moved"
    job_id: Key
    state: Name
    """`submitted`, `leased`, `hedged` (leased to a second worker too), `released` (one of two gave it back, the other goes on),
    `requeued`, `done`, `parked`, `retried` (by the user: no longer parked) or `dropped`. Of work ahead of time: `ahead` (leased),
    `stale` (void) and `committed`."""
    attempt: Count = 0
    worker: Line = ""
    reason: Line = ""
