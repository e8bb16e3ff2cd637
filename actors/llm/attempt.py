"""One lease of an `answer` job, in the thread that works on it: what is asked of the server, and what of it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.llm import errors
from actors.llm.clauses import first_clause_piece
from actors.llm.prompt import build_messages
from bus.clock import Clock
from bus.messages.base import Body
from bus.messages.jobs import Answer, Answered
from bus.messages.reply import ReplyDelta, ReplyStarted
from bus.timings import FIRST_CLAUSE, FIRST_TOKEN, LAST_TOKEN, LLM_START

if TYPE_CHECKING:
    from actors.llm.engine import Engine, Reply

INTERRUPTED = "interrupted"
MAX_CONTINUATIONS = 3
MIN_REST_TOKENS = 16


class Budget:
    """The time that one job has for its requests, `llm.answer_timeout_s`, over all of its leases."""

    def __init__(self, clock: Clock, answer_s: float) -> None:
        self._clock = clock
        self._answer_ns = round(answer_s * 1e9)
        self._job_id = ""
        self._end_ns = 0

    def begin(self, job_id: str) -> bool:
        """Another job has all of the time; the same one what it has left. Return whether it is another."""
        is_new = job_id != self._job_id
        if is_new:
            self._job_id = job_id
            self.restart()
        return is_new

    def restart(self) -> None:
        """What has passed was no fault of a request: the server was not there."""
        self._end_ns = self._clock.monotonic_ns() + self._answer_ns

    def left_s(self) -> float:
        """Negative once it is spent."""
        return (self._end_ns - self._clock.monotonic_ns()) / 1e9


class Attempt:
    """Asks, and goes on with what broke off where the server can do that."""

    def __init__(self, work: Answer, number: int, clock: Clock, tell: Callable[[Body], None]) -> None:
        """`number` is the lease's; `tell` publishes an event of this turn."""
        self._work = work
        self._number = number
        self._clock = clock
        self._tell = tell
        self._has_started = False
        self._model = ""
        self._pieces: list[str] = []
        self._arrived_ns: list[int] = []
        self._sent_ns: int | None = None
        self._continuations = 0

    def make(self, engine: Engine, hold: Callable[[Reply], None], left_s: float) -> tuple[Answered, dict[str, int]]:
        """Ask, and publish the reply as it comes; return it with its marks. Raises LlmError. `left_s`: for the first token."""
        work = self._work
        model = self._model = engine.model()
        self._start(model)
        rounds = [(past.user, past.assistant) for past in work.rounds]
        begun = "".join(self._pieces)
        max_tokens = max(MIN_REST_TOKENS, work.max_tokens - len(self._pieces)) if begun else work.max_tokens
        messages = build_messages(work.system, rounds, work.transcript)
        first_token_s = engine.client.timeouts.stall_s if begun else left_s
        reply = engine.reply(messages, max_tokens, begun=begun.rstrip(), first_token_s=first_token_s)
        hold(reply)
        if self._sent_ns is None:
            self._sent_ns = self._clock.monotonic_ns()
        at_a_word = not begun or begun[-1:].isspace()  # many models begin with a space
        for text in reply:
            piece = text.lstrip() if at_a_word else text
            if piece:
                at_a_word = False
                self._arrived_ns.append(self._clock.monotonic_ns())
                self._tell(ReplyDelta(attempt=self._number, index=len(self._pieces), text=piece))
                self._pieces.append(piece)
        if not self._pieces or reply.finished is None:
            raise errors.BrokenOff(f"{model} answered with nothing: ask again")
        return self._result(model, reply.finished.finish_reason)

    def stopped(self) -> tuple[Answered, dict[str, int]]:
        """What there is of a reply that nobody wants more of, as a result. To be called only when some of it was told."""
        return self._result(self._model, INTERRUPTED)

    def _result(self, model: str, reason: str) -> tuple[Answered, dict[str, int]]:
        complete_ns = self._clock.monotonic_ns()
        clause_ns = self._arrived_ns[first_clause_piece(self._pieces)]
        marks = {
            LLM_START: self._sent_ns or complete_ns,
            FIRST_TOKEN: self._arrived_ns[0],
            FIRST_CLAUSE: clause_ns,
            LAST_TOKEN: complete_ns,
        }
        whole = "".join(self._pieces).rstrip()
        answered = Answered(
            transcript=self._work.transcript, role=self._work.role, reply=whole, finish_reason=reason, model=model, attempt=self._number
        )
        return answered, marks

    def may_continue(self, engine: Engine, error: errors.LlmError) -> bool:
        """Whether `make` is to be called again after this error, to go on where the reply broke off.

        What has been told then stands. Otherwise the answer begins again in another lease, whose number makes void what this one told.
        """
        self._continuations += 1
        is_broken = isinstance(error, (errors.BrokenOff, errors.ServerTrouble, errors.FirstTokenTimeout))
        return bool(self._pieces) and engine.continues and is_broken and self._continuations <= MAX_CONTINUATIONS

    @property
    def has_continued(self) -> bool:
        """What fails now is a continuation, and says nothing of how a new request would fare."""
        return self._continuations > 1

    def _start(self, model: str) -> None:
        if not self._has_started:
            self._has_started = True
            self._tell(ReplyStarted(attempt=self._number, model=model))
