"""The actor `llm`: a worker of the queue `llm`. It asks the model's server, and publishes the reply as it comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from actors.llm import errors
from actors.llm.prompt import build_messages
from bus.messages.base import Body
from bus.messages.jobs import Answer, Answered, Job
from bus.messages.reply import PromptMade, PromptMessage, ReplyDelta, ReplyFinished, ReplyStarted, ReplyWaiting
from bus.timings import FIRST_TOKEN, LAST_TOKEN, LLM_START

if TYPE_CHECKING:
    from actors.actor import Runtime
    from actors.llm.engine import Engine, Reply
    from bus.jobs import Lease

KNOCK_INTERVAL_S = 1.0
"""Between two tries to reach a server that is not there."""
RETRY_DELAY_MS = 500


class Llm:
    """Answers one question at a time, in a thread; the main loop publishes what the thread tells it.

    A server that is not there is waited for, however long it takes: it may be loading its model. All other failures go back
    to the dispatcher, which tries again or has the user told.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stopping = threading.Event()
        self._engine: Engine | None = None
        self._reply: Reply | None = None
        self._is_waiting = False
        runtime.work("llm", self._on_lease)
        self._in_thread(self._knock)

    def close(self) -> None:
        """Give up the reply in progress. Its job goes back to the dispatcher when the runtime says goodbye."""
        self._stopping.set()
        if self._reply is not None:
            self._reply.cancel()

    # -- in the main loop -------------------------------------------------------------------------------------------

    def _on_lease(self, lease: Lease) -> None:
        work = lease.job.work
        if isinstance(work, Answer):
            self._in_thread(partial(self._answer, lease, work))
            self._tell_prompt(lease, work)
        else:
            lease.failed(f"{lease.job.stage} is no job for the language model", retry=False)

    def _tell_prompt(self, lease: Lease, work: Answer) -> None:
        """For whoever wants to see or record it; nobody does in most instances, and then it does not leave this process."""
        rounds = [(past.user, past.assistant) for past in work.rounds]
        messages = [PromptMessage(**message) for message in build_messages(work.system, rounds, work.transcript)]
        self._publish(lease, PromptMade(attempt=lease.attempt, messages=messages, max_tokens=work.max_tokens))

    def _in_thread(self, target: Callable[[], None]) -> None:
        """Run `target` beside the main loop. A fault in it ends the actor, so that it is seen and started anew."""

        def run() -> None:
            try:
                target()
            except Exception as error:
                self._runtime.post(partial(_raise, error))

        threading.Thread(target=run, name="llm-work", daemon=True).start()

    def _publish(self, lease: Lease, body: Body) -> None:
        self._runtime.publish(body, turn=lease.job.turn, stream=lease.job.stream)

    def _finish(self, lease: Lease, answered: Answered, marks: dict[str, int]) -> None:
        job = lease.job
        self._reached(answered.model)
        self._publish(lease, ReplyFinished(attempt=lease.attempt, text=answered.reply, finish_reason=answered.finish_reason))
        lease.done([Job(turn=job.turn, stream=job.stream, work=answered, revision=job.revision, marks={**job.marks, **marks})])

    def _fail(self, lease: Lease, error: errors.LlmError) -> None:
        self._trouble(str(error))
        lease.failed(str(error), retry=error.retryable, delay_ms=RETRY_DELAY_MS)

    def _wait(self, reason: str) -> None:
        """The server is not there. Told once, until it is."""
        if not self._is_waiting:
            self._is_waiting = True
            self._runtime.log.warning("waiting for the LLM server", reason=reason)
            self._runtime.trouble(f"waiting for the LLM server: {reason}")

    def _reached(self, model: str) -> None:
        self._is_waiting = False
        self._runtime.status(f"talking to {model}")

    def _trouble(self, text: str) -> None:
        self._is_waiting = False
        self._runtime.log.warning("LLM server in trouble", error=text)
        self._runtime.trouble(text)

    # -- in a thread of its own; only `post` leads back -----------------------------------------------------------------

    def _knock(self) -> None:
        """Before anybody asks: is the server there, and has it our model? What is wrong is told at the start."""
        while not self._stopping.is_set():
            try:
                model = self._current_engine().check()
            except errors.ServerUnavailable as error:
                self._runtime.post(partial(self._wait, str(error)))
                self._stopping.wait(KNOCK_INTERVAL_S)
            except errors.LlmError as error:
                self._runtime.post(partial(self._trouble, str(error)))
                return
            else:
                self._runtime.post(partial(self._reached, model))
                return

    def _current_engine(self) -> Engine:
        """The engine for the server's present address. Raises ServerUnavailable while the rehearsal server has none."""
        # Imported here and not by the main loop: requests takes longer to import than the actor to be ready.
        from actors.llm.connect import engine_for, server_url

        settings, addresses = self._runtime.settings, self._runtime.addresses
        if self._engine is None or self._engine.client.base_url != server_url(settings.llm, addresses):
            self._engine = engine_for(settings, addresses)
        return self._engine

    def _answer(self, lease: Lease, work: Answer) -> None:
        """See one job through to its end, waiting for the server as long as it is not there."""
        attempt = _Attempt(self._runtime, lease, work, self._publish)
        while not self._stopping.is_set():
            try:
                answered, marks = attempt.make(self._current_engine(), self._hold)
            except errors.ServerUnavailable as error:
                self._runtime.post(partial(self._wait, str(error)))
                attempt.wait(str(error))
                self._stopping.wait(KNOCK_INTERVAL_S)
            except errors.Cancelled:
                return
            except errors.LlmError as error:
                self._runtime.post(partial(self._fail, lease, error))
                return
            else:
                self._runtime.post(partial(self._finish, lease, answered, marks))
                return

    def _hold(self, reply: Reply) -> None:
        """Keep the reply in reach of `close`."""
        self._reply = reply
        if self._stopping.is_set():
            reply.cancel()


class _Attempt:
    """One lease of an `answer` job, in the working thread. Tells the main loop what is to be published."""

    def __init__(self, runtime: Runtime, lease: Lease, work: Answer, publish: Callable[[Lease, Body], None]) -> None:
        self._runtime = runtime
        self._lease = lease
        self._work = work
        self._publish = publish
        self._has_started = False
        self._has_waited = False

    def wait(self, reason: str) -> None:
        """The server is not there: tell the user once, and keep the job."""
        if not self._has_waited:
            self._has_waited = True
            self._tell(ReplyWaiting(reason=reason))
        self._runtime.post(partial(self._lease.extend, self._lease.deadline_ms))

    def make(self, engine: Engine, hold: Callable[[Reply], None]) -> tuple[Answered, dict[str, int]]:
        """Ask, and publish the reply as it comes; return it with its marks. Raises LlmError."""
        work, clock = self._work, self._runtime.clock
        model = engine.model()
        self._start(model)
        rounds = [(past.user, past.assistant) for past in work.rounds]
        reply = engine.reply(build_messages(work.system, rounds, work.transcript), work.max_tokens)
        hold(reply)
        marks = {LLM_START: clock.monotonic_ns()}
        pieces: list[str] = []
        for text in reply:
            piece = text if pieces else text.lstrip()  # many models begin with a space
            if piece:
                marks.setdefault(FIRST_TOKEN, clock.monotonic_ns())
                self._tell(ReplyDelta(attempt=self._lease.attempt, index=len(pieces), text=piece))
                pieces.append(piece)
        marks[LAST_TOKEN] = clock.monotonic_ns()
        if not pieces or reply.finished is None:
            raise errors.BrokenOff(f"{model} answered with nothing: ask again")
        whole = "".join(pieces).rstrip()
        reason = reply.finished.finish_reason
        return Answered(transcript=work.transcript, role=work.role, reply=whole, finish_reason=reason, model=model), marks

    def _start(self, model: str) -> None:
        if not self._has_started:
            self._has_started = True
            self._tell(ReplyStarted(attempt=self._lease.attempt, model=model))

    def _tell(self, body: Body) -> None:
        self._runtime.post(partial(self._publish, self._lease, body))


def _raise(error: Exception) -> None:
    raise error
