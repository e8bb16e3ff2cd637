"""The actor `llm`: a worker of the queue `llm`. It asks the model's server, and publishes the reply as it comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from actors.llm import errors
from actors.llm.attempt import Attempt, Budget
from actors.llm.prompt import build_messages
from actors.llm.question import Question
from actors.llm.silence import Silence
from actors.llm.warmer import Warmer
from bus.messages.base import Body, Message
from bus.messages.jobs import Answer, Answered, Job
from bus.messages.reply import PromptMade, PromptMessage, ReplyDelta, ReplyFinished, ReplyWaiting
from bus.messages.voice import VoiceCut

if TYPE_CHECKING:
    from actors.actor import Runtime
    from actors.llm.engine import Engine, Reply
    from bus.jobs import Lease

KNOCK_INTERVAL_S = 1.0
"""Between two tries to reach a server that is not there."""
STARTING_NS = 15_000_000_000
"""A server that the launcher starts too has so long for that before anybody is told that it is not there."""
LOOK_AGAIN_S = 0.1
"""Between two looks whether it has started."""
RETRY_DELAY_MS = 500
LEAST_S = 1.0
"""With less time than this left a turn is not asked again: no answer would come, and why the first request failed would be forgotten."""


class Llm:
    """Answers one question at a time, in a thread; the main loop publishes what the thread tells it.

    A server that is not there is waited for, however long it takes: it may be loading its model. A reply that broke off is gone
    on with where the server can do that. All other failures go back to the dispatcher, which tries again while there is time, or
    has the user told.

    An answer that is begun ahead of time is asked for in the same way, behind a gate. While nobody waits for it there is nothing to be
    waited for or told of either: what goes wrong leaves the job for the commit.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stopping = threading.Event()
        self._engine: Engine | None = None
        self._question: Question | None = None
        self._is_waiting = False
        self._budget = Budget(runtime.clock, runtime.settings.llm.answer_timeout_s)
        self._awaited: Lease | None = None
        self._has_words = False
        self._silence = Silence(runtime.settings.llm.patience_s, runtime.clock, runtime.after, self._tell_silence)
        runtime.subscribe(VoiceCut.topic, self._on_cut)
        self._warmer = Warmer(runtime, self._current_engine, self._in_thread)
        runtime.work("llm", self._on_lease)
        self._in_thread(self._knock)

    def close(self) -> None:
        """Give up the reply in progress. Its job goes back to the dispatcher when the runtime says goodbye."""
        self._stopping.set()
        self._warmer.stop()
        if self._question is not None and self._question.reply is not None:
            self._question.reply.cancel()

    # -- in the main loop -------------------------------------------------------------------------------------------

    def _on_lease(self, lease: Lease) -> None:
        work = lease.job.work
        if not isinstance(work, Answer):
            lease.failed(f"{lease.job.stage} is no job for the language model", retry=False)
            return
        self._warmer.stop()
        self._question = question = Question(lease, self._runtime.clock.monotonic_ns())
        if question.early:
            lease.on_commit = partial(self._on_commit, question)
            lease.on_cancel = partial(self._on_cancel, question)
        else:
            self._await(lease)
        self._in_thread(partial(self._answer, question, work))
        self._tell_prompt(question, work)

    def _on_commit(self, question: Question) -> None:
        """Its turn is wanted: the wait for it begins, and what there is of it may be told."""
        self._await(question.lease)
        question.gate.open()

    def _on_cancel(self, question: Question) -> None:
        """What nobody waits for is stopped. An answer that is wanted goes on: its result is most likely taken after all."""
        if question.lease.ahead:
            self._publish(question, question.discarded(self._runtime.clock.monotonic_ns()))
            question.lease.decline()
            if question.reply is not None:
                question.reply.cancel()

    def _on_cut(self, message: Message) -> None:
        """The user spoke into the answer: what there is of it is the answer, and the server need not go on."""
        question, cut = self._question, message.body
        if question is not None and isinstance(cut, VoiceCut) and question.is_cut_by(message.envelope.turn, cut):
            question.interrupted = True
            if question.reply is not None:
                question.reply.cancel()

    def _decline(self, question: Question) -> None:
        """It failed ahead of time. It comes again at the commit, and what went wrong is told then, if it still does."""
        if question.pieces and question.lease.ahead:
            self._publish(question, question.discarded(self._runtime.clock.monotonic_ns()))
        question.lease.decline()

    def _await(self, lease: Lease) -> None:
        """From now on the user waits for this answer. A further attempt is part of the same wait."""
        self._awaited, self._has_words = lease, False
        if self._budget.begin(lease.job.id):
            self._silence.heard()

    def _tell_prompt(self, question: Question, work: Answer) -> None:
        """For whoever wants to see or record it; nobody does in most instances, and then it does not leave this process."""
        rounds = [(past.user, past.assistant) for past in work.rounds]
        messages = [PromptMessage(**message) for message in build_messages(work.system, rounds, work.transcript)]
        self._tell(question, PromptMade(attempt=question.lease.reply_number, messages=messages, max_tokens=work.max_tokens))

    def _in_thread(self, target: Callable[[], None]) -> None:
        """Run `target` beside the main loop. A fault in it ends the actor, so that it is seen and started anew."""

        def run() -> None:
            try:
                target()
            except Exception as error:
                self._runtime.post(partial(_raise, error))

        threading.Thread(target=run, name="llm-work", daemon=True).start()

    def _tell(self, question: Question, body: Body) -> None:
        question.pieces += isinstance(body, ReplyDelta)
        question.gate.do(partial(self._publish, question, body))

    def _publish(self, question: Question, body: Body) -> None:
        if isinstance(body, ReplyDelta):
            self._has_words = True
            self._silence.heard()
            question.shown_ns = question.shown_ns or self._runtime.clock.monotonic_ns()
        self._runtime.publish(body, turn=question.lease.job.turn, stream=question.lease.job.stream)

    def _tell_silence(self) -> None:
        if self._awaited is not None:
            patience_s = self._runtime.settings.llm.patience_s
            reason = f"no word for {patience_s:g} s in the middle of its answer" if self._has_words else f"no answer after {patience_s:g} s"
            self._tell_waiting(self._awaited, reason)

    def _tell_waiting(self, lease: Lease, reason: str) -> None:
        self._runtime.publish(ReplyWaiting(reason=reason, begun=self._has_words), turn=lease.job.turn, stream=lease.job.stream)

    def _wait_with(self, lease: Lease, reason: str) -> None:
        """The server is not there while a question waits for it: the user is told once, and the job is kept."""
        with self._runtime.log.about(lease.job.turn):
            self._wait(reason)
        if not self._silence.told:
            self._silence.told = True
            self._tell_waiting(lease, reason)
        lease.extend(lease.deadline_ms)

    def _finish(self, question: Question, answered: Answered, marks: dict[str, int]) -> None:
        lease, job = question.lease, question.lease.job
        self._silence.end()
        self._reached(answered.model)
        if isinstance(job.work, Answer):
            self._warmer.answered(job.stream, job.work, answered)
        self._publish(question, ReplyFinished(attempt=lease.reply_number, text=answered.reply, finish_reason=answered.finish_reason))
        all_marks = {**job.marks, **marks, **question.marks()}
        lease.done([Job(turn=job.turn, stream=job.stream, work=answered, revision=job.revision, marks=all_marks)])

    def _fail(self, lease: Lease, error: errors.LlmError, retry: bool) -> None:
        if not retry:
            self._silence.end()
        with self._runtime.log.about(lease.job.turn):
            self._trouble(str(error))
        lease.failed(str(error), retry=retry, delay_ms=RETRY_DELAY_MS)

    def _wait(self, reason: str) -> None:
        """The server is not there. Told once, until it is."""
        self._warmer.lost()
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
        began_ns = self._runtime.clock.monotonic_ns()
        while not self._stopping.is_set():
            try:
                model = self._current_engine().check()
            except errors.ServerNotStarted as error:
                if self._runtime.clock.monotonic_ns() - began_ns > STARTING_NS:
                    self._runtime.post(partial(self._wait, str(error)))
                self._stopping.wait(LOOK_AGAIN_S)
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

    def _answer(self, question: Question, work: Answer) -> None:
        """See one job through to its end."""
        lease = question.lease

        def tell(body: Body) -> None:
            self._post(question, partial(self._tell, question, body))

        attempt = Attempt(work, lease.reply_number, self._runtime.clock, tell)
        engine: Engine | None = None
        while not self._stopping.is_set():
            try:
                engine = self._current_engine()
                left_s = self._runtime.settings.llm.answer_timeout_s if lease.ahead else self._budget.left_s()
                answered, marks = attempt.make(engine, partial(self._hold, question), left_s)
            except errors.Cancelled:
                if not question.interrupted:
                    return
            except errors.LlmError as error:
                if not question.interrupted and not self._goes_on(question, attempt, engine, error):
                    return
            else:
                finish = partial(self._finish, question, answered, marks)
                self._post(question, partial(question.gate.do, finish))
                return
            if question.interrupted:
                self._post(question, partial(self._finish, question, *attempt.stopped()))
                return

    def _goes_on(self, question: Question, attempt: Attempt, engine: Engine | None, error: errors.LlmError) -> bool:
        """Whether to ask again in this lease after an error, now. A server that is not there is waited for as long as that takes."""
        lease = question.lease
        if lease.ahead:
            self._post(question, partial(self._decline, question))
            return False
        if isinstance(error, errors.ServerUnavailable):
            self._post(question, partial(self._wait_with, lease, str(error)))
            self._stopping.wait(KNOCK_INTERVAL_S)
            self._budget.restart()
            return True
        if engine is not None and attempt.may_continue(engine, error):
            self._post(question, partial(lease.extend, lease.deadline_ms))
            self._stopping.wait(RETRY_DELAY_MS / 1000)
            return True
        again = (error.retryable or attempt.has_continued) and self._budget.left_s() > LEAST_S
        self._post(question, partial(self._fail, lease, error, again))
        return False

    def _hold(self, question: Question, reply: Reply) -> None:
        """Keep the reply in reach of the main loop."""
        question.reply = reply
        if self._stopping.is_set() or question.lease.ended or question.interrupted:
            reply.cancel()

    def _post(self, question: Question, act: Callable[[], object]) -> None:
        """Have the main loop do this, unless the lease has ended by then."""

        def do() -> None:
            if not question.lease.ended:
                act()

        self._runtime.post(do)


def _raise(error: Exception) -> None:
    raise error
