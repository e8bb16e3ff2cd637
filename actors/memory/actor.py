"""The actor `memory`: a worker of the queue `memory`. It finds what came before a question, and keeps the turns that are over."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from actors.llm.prompt import estimate_tokens
from actors.memory.context import PastRound, messages_of, trim
from actors.memory.counting import Counting, ServerCounter
from actors.memory.ends import Ends
from actors.memory.store import Store, database_path, mend_store, open_store
from actors.storage import opened
from bus.errors import EarshotError
from bus.messages.jobs import Answer, Job, LookBack, LookedBack, Recall, Remember
from bus.messages.turn import LastTurn, Round, TurnFinished, TurnRecord
from bus.sqlite import fault_of
from bus.timings import RECALL_END, RECALL_START, REMEMBERED, RETRIED, attempts_ms, speech_ns, timings_ms

if TYPE_CHECKING:
    from actors.actor import Runtime
    from bus.jobs import Lease

RETRY_MS = 1000
LOOK_S = 1.0
MENDING_S = 300.0

Result = TypeVar("Result")


class Memory:
    """Reads and writes the store, one job at a time."""

    def __init__(self, runtime: Runtime) -> None:
        """Raise SetupError when the database cannot be used."""
        self._runtime = runtime
        self._settings = runtime.settings.memory
        path = database_path(self._settings, runtime.addresses)
        self._store, mended = opened(runtime, lambda: open_store(path))
        self._ends = Ends()
        self._in_trouble = False
        self._unkept: dict[str, None] = {}  # jobs that could not be done while the store cannot be written; some are given up by then
        if mended:
            self._tell_mended(mended)
        self._counting = Counting(ServerCounter(runtime.settings, runtime.addresses), self._on_counted)
        self._counting.start()
        runtime.work("memory", self._on_lease)

    def close(self) -> None:
        self._store.close()

    def _on_lease(self, lease: Lease) -> None:
        match lease.job.work:
            case LookBack() as work:
                self._look_back(lease, work)
            case Recall() as work:
                self._recall(lease, work)
            case Remember() as work:
                self._remember(lease, work)
            case other:
                lease.failed(f"a {type(other).__name__} is no job for memory", retry=False)

    # -- before the answer ----------------------------------------------------------------------------------------

    def _recall(self, lease: Lease, work: Recall) -> None:
        job = lease.job
        start_ns = self._runtime.clock.monotonic_ns()
        rounds = [past.round for past in self._context(job.stream)]
        answer = Answer(transcript=work.transcript, role=work.role, system=work.system, max_tokens=work.max_tokens, rounds=rounds)
        marks = {**job.marks, RECALL_START: start_ns, RECALL_END: self._runtime.clock.monotonic_ns()}
        lease.done([Job(turn=job.turn, stream=job.stream, work=answer, revision=job.revision, marks=marks)])

    def _look_back(self, lease: Lease, work: LookBack) -> None:
        """When the store cannot be read, nothing came before."""
        job = lease.job
        try:
            last, answer = self._trying(lambda: (self._store.last_turn(job.stream), self._store.last_answer(job.stream)))
        except sqlite3.Error as error:
            self._runtime.log.warning("memory cannot be read, going on without it", error=str(error))
            last, answer = None, ""
        before = None if last is None else self._before(last, job, work.heard.speech_ms)
        found = LookedBack(heard=work.heard, addressed=work.addressed, last=before, answer=answer)
        lease.done([Job(turn=job.turn, stream=job.stream, work=found, revision=job.revision, marks=job.marks)])

    def _before(self, last: TurnRecord, job: Job, speech_ms: int) -> LastTurn:
        clock = self._runtime.clock
        now_ns = clock.monotonic_ns()
        began_ns, _ = speech_ns(job.marks, speech_ms, now_ns)
        quiet_ns = began_ns - self._ends.of(last, now_ns, clock.wall_ns())
        return LastTurn(state=last.state, transcript=last.transcript, spoke=bool(last.reply), quiet_ms=max(0, quiet_ns) / 1e6)

    def _context(self, stream: str) -> Sequence[PastRound]:
        """The rounds to give. When the store cannot be read there are none: an answer without memory is better than no answer."""
        settings = self._settings
        try:
            window = self._trying(lambda: self._store.window(stream, settings.rounds, settings.trim_block))
        except sqlite3.Error as error:
            self._runtime.log.warning("memory cannot be read, answering without it", error=str(error))
            return ()
        return trim(window, settings.max_context_tokens, settings.trim_block)

    # -- after it -------------------------------------------------------------------------------------------------

    def _remember(self, lease: Lease, work: Remember) -> None:
        job = lease.job
        if work.state == "ignored":  # it was not for us, and is nowhere any more
            self._runtime.publish(TurnFinished(record=self._record(job, work)), turn=job.turn, stream=job.stream)
            lease.done()
            return
        past = Round(user=work.transcript, assistant=work.reply)
        try:
            kept = self._trying(lambda: self._store.remember(self._record(job, work), estimate_tokens(messages_of(past))))
        except sqlite3.Error as error:
            reason = self._tell_trouble(error)
            self._unkept[job.id] = None
            lease.failed(reason, retry=True, delay_ms=RETRY_MS)
            return
        self._end_trouble()
        self._ends.add(kept, self._runtime.clock.monotonic_ns())
        self._runtime.publish(TurnFinished(record=kept, late=RETRIED in job.marks), turn=job.turn, stream=job.stream)
        lease.done()
        if kept.state == "answered" and kept.reply:
            self._counting.want(job.turn, past)

    # -- trouble with the file ------------------------------------------------------------------------------------

    def _trying(self, use: Callable[[], Result]) -> Result:
        """Use the store; when its file turns out to be damaged, mend it and use it again. Raises sqlite3.Error."""
        try:
            return use()
        except sqlite3.Error as error:
            if not fault_of(error, self._store.path).damaged:
                raise
            damage = f"the memory store {self._store.path} is damaged ({error})"
        with self._runtime.phases.during("mending", MENDING_S):
            self._store.close()
            self._store, mended = mend_store(self._store.path, damage)
        self._tell_mended(mended)
        return use()

    def _tell_mended(self, mended: str) -> None:
        self._runtime.trouble(mended)
        self._runtime.log.error(mended)

    def _tell_trouble(self, error: sqlite3.Error) -> str:
        line = f"the memory store cannot be written: {fault_of(error, self._store.path).text}; work goes on by itself then"
        if not self._in_trouble:
            self._in_trouble = True
            self._runtime.trouble(line)
            self._runtime.log.error(line)
            self._looking = self._runtime.every(LOOK_S, self._look)
        return line

    def _look(self) -> None:
        """Nobody may speak for hours: find out whether the trouble is over."""
        try:
            self._store.test_writing()
        except sqlite3.Error:
            with suppress(EarshotError):  # opened on a read-only disk, a connection would stay read-only after the disk is not
                fresh = Store(self._store.path)
                self._store.close()
                self._store = fresh
        else:
            self._end_trouble()

    def _end_trouble(self) -> None:
        if self._in_trouble:
            self._in_trouble = False
            self._looking.cancel()
            self._runtime.status("the memory store can be written again")
            self._runtime.jobs.retry_parked(list(self._unkept))
            self._unkept.clear()

    def _record(self, job: Job, work: Remember) -> TurnRecord:
        clock = self._runtime.clock
        is_late = work.state == "answered" and RETRIED in job.marks
        marks = {**job.marks, REMEMBERED: clock.monotonic_ns()}
        return TurnRecord(
            turn=job.turn,
            stream=job.stream,
            role=work.role,
            state=work.state,
            transcript=work.transcript,
            reply=work.reply,
            wall_ns=clock.wall_ns(),
            timings_ms=timings_ms(marks),
            detail=", ".join(filter(None, ("answered late" if is_late else "", work.detail))),
            attempts=attempts_ms(marks, job.history),
        )

    def _on_counted(self, turn: str, tokens: int) -> None:
        self._runtime.post(partial(self._set_tokens, turn, tokens))

    def _set_tokens(self, turn: str, tokens: int) -> None:
        try:
            self._store.set_tokens(turn, tokens)
        except sqlite3.Error as error:
            self._runtime.log.warning("token count not kept", turn=turn, error=str(error))
