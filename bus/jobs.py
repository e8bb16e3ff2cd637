"""The job plane, seen from an actor: submit work that must happen, and do work of one queue under a lease.

What is sent is kept until the dispatcher has acknowledged it and is sent again after each reconnection, so the dispatcher may
die at any moment. All of it is idempotent: the identity of a job, not the number of messages, decides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import msgspec
import zmq

from bus.codec import Stamp, check, decode
from bus.errors import EarshotError, NoInstance, WireError
from bus.events import configure, monitor_event, received
from bus.limits import JOB_HIGH_WATER_MARK, MAX_MARKS_TAKEN, MAX_REASON_CHARS
from bus.messages.base import Body, Message
from bus.messages.jobs import (
    Ahead,
    Job,
    JobAccepted,
    JobCancel,
    JobCommitted,
    JobDeclined,
    JobDone,
    JobExtend,
    JobFailed,
    JobInfo,
    JobLease,
    JobRefused,
    JobSettled,
    JobSpeculate,
    JobsQuery,
    JobsState,
    JobSubmit,
    JobWithdraw,
    ParkedRetry,
    ParkedSettled,
    WorkerBye,
    WorkerHello,
)
from bus.security import connect
from bus.sockets import send

Accepted = Callable[[int], None]
"""Gets the revision of the turn that is in the spool; see `JobAccepted`."""
Settled = TypeVar("Settled", bound=Body)
ATTEMPTS_PER_REVISION = 10_000

HELLO_AGAIN_S = 5
"""An idle worker says hello so often: whoever said hello in its name meanwhile has not silenced it for good."""


class Unwanted(EarshotError):
    """Work ahead of time that was called off. The lease is to be ended all the same: by `decline`."""


@dataclass
class Lease:
    """A job in this worker's hands. To be ended once, with `done` or `failed`."""

    job: Job
    payload: bytes | None
    attempt: int
    """Counts from 1; 0 for one that began ahead of time."""
    deadline_ms: int
    """Counted from when the lease was given; afterwards the job goes to another worker."""
    id: str
    _client: JobClient = field(repr=False)
    ahead: Ahead = ""
    """Not empty: this is work ahead of time, see `bus.ahead`. Nothing of it may be seen or heard outside before the commit."""
    on_commit: Callable[[], None] | None = None
    """Called when what was ahead of time is wanted: `ahead` is empty from then on, and `job` has the marks that it has now."""
    cancelled: bool = False
    """The lease has ended without us: it ran out, or another's result was first. Ours will most likely be thrown away."""
    on_cancel: Callable[[], None] | None = None
    """Called when that happens, so that one who can stop may stop. The lease is to be ended all the same."""
    _ended: bool = False

    def done(self, follow_ups: Sequence[Job] = ()) -> None:
        """End the lease well. The follow-up jobs come to be in the same transaction in which this job ends."""
        self._end(JobDone(lease=self.id, job_id=self.job.id, follow_ups=list(follow_ups)))

    def failed(self, reason: str, *, retry: bool, delay_ms: int = 0) -> None:
        """End the lease badly. `reason` may be shown to the user. Without `retry` the job is parked at once."""
        self._end(JobFailed(lease=self.id, job_id=self.job.id, reason=reason[:MAX_REASON_CHARS], retry=retry, delay_ms=delay_ms))

    def decline(self) -> None:
        """End a lease ahead of time: the job waits for the commit, and comes again then."""
        self._end(JobDeclined(lease=self.id, job_id=self.job.id))

    def check(self) -> None:
        """To be called in the middle of long work. Raise Unwanted when it is ahead of time and was called off meanwhile.

        Reads what the dispatcher has said of this lease; all else that it says is handled when the handler is through.
        """
        self._client.overhear()
        if self.ahead and self.cancelled:
            raise Unwanted(f"{self.job.id}: nobody waits for this any more")

    def extend(self, deadline_ms: int) -> None:
        """Ask for a new deadline, `deadline_ms` from now: for a worker that waits for something and is well."""
        self._client.extend_lease(self, deadline_ms)

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def reply_number(self) -> int:
        """Numbers what is said under this lease: it grows with each attempt, and from one revision of the turn to the next. Readers of
        a reply heed only the newest."""
        return self.job.revision * ATTEMPTS_PER_REVISION + self.attempt

    def commit(self, job: Job) -> None:
        """The job is wanted; called by the client, perhaps more than once."""
        is_new, self.job, self.ahead = bool(self.ahead), job, ""
        if is_new and self.on_commit is not None:
            self.on_commit()

    def _end(self, body: JobDone | JobFailed | JobDeclined) -> None:
        assert not self._ended, f"the lease of {self.job.id} was ended twice"
        self._ended = True
        self._client.end_lease(self, body)


LeaseHandler = Callable[[Lease], None]
CommitHandler = Callable[[str, Job], None]
"""Gets the name of a lease ahead of time that had ended well, and its job as it is now that it is wanted."""


@dataclass
class _Unsent:
    body: Body
    payload: bytes | None = None
    on_accepted: Accepted | None = None
    refused: bool = False


class JobClient:
    """One actor's connection to the dispatcher. Watch `socket` (then `receive`) and `monitor` (then `notice_connection`)."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        stamp: Stamp,
        on_bad: Callable[[WireError], None] | None = None,
        *,
        on_unsent: Callable[[], None] | None = None,
        on_refused: Callable[[Job, str], None] | None = None,
    ) -> None:
        """`on_bad` is told of each message that does not follow the protocol, `on_unsent` of each for which there was no room;
        `on_refused`, once for each job, that it was not taken and why: it is submitted again until it is."""
        self._stamp = stamp
        self._on_bad = on_bad
        self._on_unsent = on_unsent
        self._on_refused = on_refused
        self._submitted: dict[str, _Unsent] = {}
        self._ending: dict[str, _Unsent] = {}
        self._lease: Lease | None = None
        self._queue = ""
        self._handler: LeaseHandler | None = None
        self._on_committed: CommitHandler | None = None
        self._arrived: deque[Message] = deque()  # not yet handled
        self._connected = False
        self._quiet_s = 0
        self.socket = context.socket(zmq.DEALER)
        configure(self.socket, JOB_HIGH_WATER_MARK)
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        connect(self.socket, endpoint)

    def submit(self, job: Job, payload: bytes | None = None, on_accepted: Accepted | None = None) -> None:
        """Hand over a job; `on_accepted` is called once it is in the spool. What was speculated of it counts then.

        Jobs come into the spool in the order of these calls, for that is the order in which turns are answered. So each is sent once
        the one before it is there: of two that were on their way to a dispatcher that dies, the second might arrive alone.
        """
        self._submitted[job.id] = _Unsent(JobSubmit(job=job), payload, on_accepted)
        if len(self._submitted) == 1:
            self._send_next()

    def speculate(self, job: Job, payload: bytes | None = None, *, partial: bool = False) -> None:
        """Have a job done ahead of time, if the dispatcher is there and somebody is free. Never repeated: it would be too late."""
        if self._connected:
            self._send(_Unsent(JobSpeculate(job=job, partial=partial), payload))

    def withdraw(self, turn: str) -> None:
        """What is done ahead of this turn is void."""
        if self._connected:
            self._send(_Unsent(JobWithdraw(turn=turn)))

    def work(self, queue: str, handler: LeaseHandler, on_committed: CommitHandler | None = None) -> None:
        """Offer this process as a worker of `queue`. `on_committed` hears that what was done ahead is wanted, perhaps more than once."""
        self._queue, self._handler, self._on_committed = queue, handler, on_committed
        self._hello()

    def retry_parked(self, job_ids: Sequence[str]) -> None:
        """Have given-up jobs tried again, for a worker that knows that what they failed of is over. Not repeated: what is lost with a
        dispatcher stays parked, for the user to see."""
        self._send(_Unsent(ParkedRetry(job_ids=list(job_ids))))

    @property
    def outstanding(self) -> int:
        """How many submissions and lease ends have not been acknowledged."""
        return len(self._submitted) + len(self._ending)

    @property
    def connected(self) -> bool:
        """Whether the dispatcher is there."""
        return self._connected

    @property
    def lease(self) -> Lease | None:
        """The lease that this worker holds."""
        return self._lease

    def receive(self) -> None:
        """Handle what has arrived."""
        self._read()
        while self._arrived:
            with self._bad_told():
                self._handle(self._arrived.popleft())

    def overhear(self) -> None:
        """Within a handler: handle what concerns the lease in its hands, and leave the rest for `receive`, which has called it."""
        self._read()
        arrived, self._arrived = self._arrived, deque()
        for message in arrived:
            if isinstance(message.body, JobCancel | JobCommitted):
                self._handle(message)
            else:
                self._arrived.append(message)

    def notice_connection(self) -> None:
        """Handle an event of `monitor`: after each new connection the dispatcher is told all over again what it may not know."""
        self._connected = monitor_event(self.monitor) == zmq.EVENT_HANDSHAKE_SUCCEEDED
        if self._connected:
            self._hello()
            self.resend()

    def resend(self) -> None:
        """Send again what has not been acknowledged. Called each second."""
        if self._connected:
            self._quiet_s = (self._quiet_s + 1) % HELLO_AGAIN_S
            if self._lease is None and self._quiet_s == 0:
                self._hello()
            for unsent in list(self._ending.values()):
                self._send(unsent)
            self._send_next()

    def end_lease(self, lease: Lease, body: JobDone | JobFailed | JobDeclined) -> None:
        """Tell how `lease` ended; called by the lease."""
        if self._lease is lease:
            self._lease = None
        try:
            check(body)
        except WireError as error:  # it would be refused again and again, and the job tried again and again
            body = JobFailed(
                lease=lease.id, job_id=lease.job.id, reason=f"its result cannot be sent: {error}"[:MAX_REASON_CHARS], retry=False
            )
        unsent = _Unsent(body)
        self._ending[lease.id] = unsent
        self._send(unsent)

    def extend_lease(self, lease: Lease, deadline_ms: int) -> None:
        """Ask for more time; called by the lease."""
        self._send(_Unsent(JobExtend(lease=lease.id, job_id=lease.job.id, deadline_ms=deadline_ms)))

    def close(self) -> None:
        """Say goodbye, so that a lease that is held ends now and not at its deadline."""
        if self._handler is not None:
            self._send(_Unsent(WorkerBye()))
        self.socket.setsockopt(zmq.LINGER, 100)  # the goodbye, and lease ends that are on their way
        self.socket.disable_monitor()  # first: with nobody to read it, ZeroMQ's thread may block in telling an event, and we on its lock
        self.monitor.close()
        self.socket.close()

    def _read(self) -> None:
        for frames in received(self.socket):
            with self._bad_told():
                self._arrived.append(decode(frames))

    @contextmanager
    def _bad_told(self) -> Iterator[None]:
        try:
            yield
        except WireError as error:
            if self._on_bad:
                self._on_bad(error)

    def _send_next(self) -> None:
        """The oldest submission that is not known to be in the spool."""
        if self._submitted:
            self._send(next(iter(self._submitted.values())))

    def _send(self, unsent: _Unsent) -> None:
        try:
            send(self.socket, self._stamp.pack(unsent.body, payload=unsent.payload))
        except zmq.Again:  # no dispatcher and a full queue; it is sent again on reconnection
            if self._on_unsent:
                self._on_unsent()

    def _hello(self) -> None:
        if self._handler is not None:
            lease, job_id = (self._lease.id, self._lease.job.id) if self._lease else ("", "")
            self._send(_Unsent(WorkerHello(queue=self._queue, lease=lease, job_id=job_id)))

    def _handle(self, message: Message) -> None:
        match message.body:
            case JobAccepted(job_id=job_id, revision=revision):
                unsent = self._submitted.pop(job_id, None)
                if unsent is not None:
                    self._send_next()
                    if unsent.on_accepted is not None:
                        unsent.on_accepted(revision)
            case JobRefused(job_id=job_id, reason=reason):
                self._refused(job_id, reason)
            case JobSettled(lease=lease):
                self._ending.pop(lease, None)
            case JobLease() as offer:
                self._begin(offer, message.payload)
            case JobCancel(lease=lease):
                self._cancel(lease)
            case JobCommitted(lease=lease, job=job):
                self._commit(lease, job)
            case ParkedSettled():
                pass
            case other:
                raise WireError(f"{other.topic}: not for a worker")

    def _refused(self, job_id: str, reason: str) -> None:
        """It stays among the submitted and is sent again."""
        unsent = self._submitted.get(job_id)
        if unsent is not None and not unsent.refused and isinstance(unsent.body, JobSubmit):
            unsent.refused = True
            if self._on_refused is not None:
                self._on_refused(unsent.body.job, reason)

    def _cancel(self, lease: str) -> None:
        if self._lease is not None and self._lease.id == lease:
            if not self._lease.cancelled:
                self._lease.cancelled = True
                if self._lease.on_cancel is not None:
                    self._lease.on_cancel()
        elif lease not in self._ending:
            self._hello()  # it never reached us: we are free

    def _commit(self, lease: str, job: Job) -> None:
        if self._lease is not None and self._lease.id == lease:
            self._lease.commit(job)
        elif self._on_committed is not None:
            self._on_committed(lease, job)

    def _begin(self, offer: JobLease, payload: bytes | None) -> None:
        # A repeated hello can bring an offer for the lease that is already held, or one that has just been ended.
        if self._handler is None or offer.lease in self._ending or (self._lease and self._lease.id == offer.lease):
            return
        job = offer.job
        if len(job.marks) > MAX_MARKS_TAKEN:
            job = msgspec.structs.replace(job, marks=dict(islice(job.marks.items(), MAX_MARKS_TAKEN)))
        self._lease = Lease(job, payload, offer.attempt, offer.deadline_ms, offer.lease, self, offer.ahead)
        self._handler(self._lease)


def query_jobs(context: zmq.Context[zmq.Socket[bytes]], endpoint: str, stamp: Stamp, stream: str, timeout_s: float) -> list[JobInfo]:
    """Ask the dispatcher what is open or parked, for one stream or (empty) for all. Raise NoInstance when it does not answer."""
    return ask_dispatcher(context, endpoint, stamp, JobsQuery(stream=stream), JobsState, timeout_s=timeout_s).jobs


def ask_dispatcher(
    context: zmq.Context[zmq.Socket[bytes]], endpoint: str, stamp: Stamp, question: Body, kind: type[Settled], *, timeout_s: float
) -> Settled:
    """Ask the dispatcher and return its answer. Raise NoInstance when none comes, EarshotError when it says that it cannot."""
    with context.socket(zmq.DEALER) as socket:
        configure(socket, JOB_HIGH_WATER_MARK)
        connect(socket, endpoint)
        socket.send_multipart(stamp.pack(question))
        if not socket.poll(round(timeout_s * 1000)):
            raise NoInstance(f"the dispatcher did not answer within {timeout_s:.0f} s; see `supervisor status`")
        body = decode(socket.recv_multipart()).body
    if isinstance(body, JobRefused):
        raise EarshotError(body.reason)
    if not isinstance(body, kind):
        raise WireError(f"{body.topic}: not the answer to {question.topic}")
    return body
