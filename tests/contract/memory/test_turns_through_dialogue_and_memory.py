"""Turns through the real processes `dialogue` and `memory` on a real bus. The model is played by the test, and nothing else."""

from __future__ import annotations

import os
import secrets
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import zmq

from actors.memory.store import Store
from bus.addresses import Addresses
from bus.codec import Stamp
from bus.events import Publisher, Subscriber, wait_until_heard
from bus.jobs import JobClient, Lease
from bus.messages.base import Message
from bus.messages.jobs import Answer, Answered, Heard, Job, JobMoved, Parked
from bus.messages.reply import ReplyDelta, ReplyFinished, ReplyStarted
from bus.messages.turn import Round, TurnFinished, TurnRecord
from bus.settings import DialogueSettings, InstanceSettings, JobsSettings, LlmSettings, MemorySettings, Role, Settings, dump_resolved
from bus.timings import PARTS, SPEECH_END, TOTAL
from supervisor.notify import NotifySocket
from tests.fakes.llm_server import ScriptedServer
from tests.waiting import pump_until, wait_until

UNREACHABLE = "http://127.0.0.1:9/v1"


class Bench:
    """An instance without ears and without a model: broker, dispatcher, dialogue, memory, and a hand in place of the rest."""

    def __init__(self, directory: Path, stack: ExitStack, llm_url: str = UNREACHABLE) -> None:
        self.addresses = Addresses(directory / "run", directory / "state")
        self.addresses.prepare()
        settings = Settings(
            instance=InstanceSettings(str(self.addresses.runtime_dir), str(self.addresses.state_dir)),
            dialogue=DialogueSettings(
                role="guide", reprompt="Pardon?", apology="Sorry!", roles={"guide": Role(prompt="Show around.", max_tokens=128)}
            ),
            memory=MemorySettings(rounds=2, trim_block=2),
            llm=LlmSettings(url=llm_url, model="tiny"),
            jobs=JobsSettings(max_attempts=2),
        )
        self.addresses.config.write_bytes(dump_resolved(settings))
        self.environ = {**os.environ, **self.addresses.environ, "EARSHOT_CONFIG": str(self.addresses.config)}
        self._notify = NotifySocket(f"@earshot-test-{os.getpid()}-{secrets.token_hex(4)}")
        stack.callback(self._notify.close)
        self.environ["NOTIFY_SOCKET"] = self._notify.address
        self._ready: set[int] = set()
        self._stack = stack
        self.children = {name: self.start(name) for name in ("broker", "dispatcher", "dialogue", "memory")}
        self.wait_until_ready(*self.children.values())  # before that an actor works, but its events may go nowhere
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(context.destroy, linger=0)
        publisher = Publisher(context, self.addresses.events_in, Stamp("bench", "1"))
        self.events = Subscriber(context, self.addresses.events_out, ("reply.", "turn.", "job."))
        self.seen: list[Message] = wait_until_heard(publisher, self.events, 20.0)
        self.questions: list[Lease] = []
        self.jobs = JobClient(context, self.addresses.jobs, Stamp("llm", "1"))
        self.jobs.work("llm", self.questions.append)

    def start(self, name: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen([sys.executable, "-m", "actors", name], env=self.environ)
        self._stack.callback(child.wait)
        self._stack.callback(child.kill)
        return child

    def wait_until_ready(self, *children: subprocess.Popen[bytes]) -> None:
        def ready() -> bool:
            self._ready |= {notice.pid for notice in self._notify.receive() if notice.values.get("READY") == "1"}
            return self._ready >= {child.pid for child in children}

        wait_until(ready)

    def until(self, condition: Callable[[], object]) -> None:
        pump_until(condition, self._pump)

    def _pump(self) -> None:
        self.jobs.socket.poll(5)
        while self.jobs.monitor.poll(0):
            self.jobs.notice_connection()
        self.jobs.receive()
        self.seen += self.events.receive()

    def hear(self, turn: str, transcript: str, speech_ms: int = 2000, marks: dict[str, int] | None = None) -> None:
        self.jobs.submit(Job(turn=turn, stream="mic", work=Heard(transcript=transcript, speech_ms=speech_ms), marks=marks or {}))

    def question(self) -> Lease:
        self.until(lambda: self.questions)
        return self.questions.pop(0)

    def answer(self, reply: str, finish_reason: str = "stop") -> Answer:
        """Play the model for the next question; return what it was asked."""
        lease = self.question()
        asked = lease.job.work
        assert isinstance(asked, Answer)
        answered = Answered(transcript=asked.transcript, role=asked.role, reply=reply, finish_reason=finish_reason, model="hand")
        lease.done([Job(turn=lease.job.turn, stream=lease.job.stream, work=answered, marks=lease.job.marks)])
        return asked

    def finished(self, turn: str) -> TurnRecord:
        self.until(lambda: self.records(turn))
        return self.records(turn)[0]

    def records(self, turn: str) -> list[TurnRecord]:
        bodies = [message.body for message in self.seen if message.envelope.turn == turn]
        return [body.record for body in bodies if isinstance(body, TurnFinished)]

    def said(self, turn: str) -> list[object]:
        return [message.body for message in self.seen if message.envelope.turn == turn and message.topic.startswith("reply.")]

    def moved(self, job_id: str, state: str) -> bool:
        return any(
            isinstance(body, JobMoved) and (body.job_id, body.state) == (job_id, state) for body in (each.body for each in self.seen)
        )

    def tokens(self) -> list[int]:
        with closing(Store(self.addresses.state_dir / "memory.sqlite3", create=False)) as store:
            return [past.tokens for past in store.window("mic", 100, 1)]

    def stored(self) -> list[TurnRecord]:
        with closing(Store(self.addresses.state_dir / "memory.sqlite3", create=False)) as store:
            return list(store.export())


@pytest.fixture
def bench() -> Iterator[Bench]:
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ear"))  # short: sockets are in it
        yield Bench(Path(directory), stack)


def test_a_question_reaches_the_model_with_the_role_and_the_rounds_before_it(bench: Bench) -> None:
    asked = []
    for number in range(5):
        bench.hear(f"t{number}", f"question {number}")
        asked.append(bench.answer(f"answer {number}"))
        bench.finished(f"t{number}")
    assert asked[0] == Answer(transcript="question 0", role="guide", system="Show around.", max_tokens=64, rounds=[])
    starts = [[past.user.removeprefix("question ") for past in each.rounds] for each in asked]
    assert starts == [[], ["0"], ["0", "1"], ["0", "1", "2"], ["2", "3"]]
    assert asked[1].rounds == [Round(user="question 0", assistant="answer 0")]


def test_a_finished_turn_is_in_the_store_with_its_times(bench: Bench) -> None:
    bench.hear("t1", "where am I", marks={SPEECH_END: time.monotonic_ns()})
    bench.answer("In Ro", "length")
    record = bench.finished("t1")
    assert (record.state, record.transcript, record.reply, record.detail) == ("answered", "where am I", "In Ro", "length")
    assert set(record.timings_ms) >= {"turn_wait", "turn_logic", "recall_wait", "recall", "closing", TOTAL}
    assert sum(round(ms * 1000) for part, ms in record.timings_ms.items() if part in PARTS) == round(record.timings_ms[TOTAL] * 1000)
    assert bench.stored() == [record]
    assert bench.tokens() == [4 + 4 + 4 + 2]  # the estimate: nobody counts here


def test_unclear_speech_is_asked_for_again_and_is_no_round(bench: Bench) -> None:
    bench.hear("t1", "")
    record = bench.finished("t1")
    assert (record.state, record.reply) == ("empty", "Pardon?")
    assert bench.said("t1") == [
        ReplyStarted(attempt=1, model="local"),
        ReplyDelta(attempt=1, index=0, text="Pardon?"),
        ReplyFinished(attempt=1, text="Pardon?", finish_reason="local"),
    ]
    bench.hear("t2", "hello")
    assert bench.answer("Hi.").rounds == []


def test_a_cough_is_remembered_and_not_talked_about(bench: Bench) -> None:
    bench.hear("t1", "", speech_ms=900)
    assert bench.finished("t1").state == "empty"
    assert bench.said("t1") == []


def test_a_turn_whose_job_was_given_up_ends_with_an_apology_newer_than_any_answer(bench: Bench) -> None:
    bench.hear("t1", "where am I")
    bench.question().failed("the model is on fire", retry=False)
    record = bench.finished("t1")
    assert (record.state, record.transcript, record.reply, record.detail) == (
        "failed",
        "where am I",
        "Sorry!",
        "answer: the model is on fire",
    )
    started = bench.said("t1")[0]
    assert isinstance(started, ReplyStarted)
    assert started.attempt > 100


def test_turns_spoken_in_quick_succession_see_each_other(bench: Bench) -> None:
    for number in range(3):
        bench.hear(f"t{number}", f"question {number}")
    asked = [bench.answer(f"answer {number}") for number in range(3)]
    bench.finished("t2")
    assert [each.transcript for each in asked] == ["question 0", "question 1", "question 2"]
    assert [len(each.rounds) for each in asked] == [0, 1, 2]


def test_once_a_turn_is_over_the_count_of_the_server_takes_the_place_of_the_estimate() -> None:
    body = b'{"count": 17}'
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    with ExitStack() as stack:
        server = stack.enter_context(ScriptedServer([answer]).running())
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ear"))
        bench = Bench(Path(directory), stack, server.base_url)
        bench.hear("t1", "where am I")
        assert server.seen.requests == []
        bench.answer("In Rome.")
        bench.finished("t1")
        bench.until(lambda: bench.tokens() == [17])


def test_a_store_that_cannot_be_written_for_a_while_loses_no_turn(bench: Bench) -> None:
    bench.hear("t0", "")
    bench.finished("t0")
    with closing(sqlite3.connect(bench.addresses.state_dir / "memory.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        bench.hear("t1", "where am I")
        bench.answer("In Rome.")
        bench.until(lambda: bench.moved("t1/remember/0", "requeued"))
        assert bench.records("t1") == []
        other.execute("ROLLBACK")
    assert bench.finished("t1").reply == "In Rome."
    assert [record.turn for record in bench.stored()] == ["t0", "t1"]


def test_memory_killed_in_mid_turn_loses_nothing_and_repeats_nothing(bench: Bench) -> None:
    bench.hear("t1", "where am I")
    lease = bench.question()
    bench.children["memory"].kill()
    bench.children["memory"].wait()
    bench.questions.append(lease)
    bench.answer("In Rome.")
    bench.wait_until_ready(bench.start("memory"))
    bench.until(bench.stored)  # the store, not the event: memory may do the job before anybody can hear it
    assert [(record.turn, record.reply) for record in bench.stored()] == [("t1", "In Rome.")]


def test_a_notice_that_memory_gave_up_ends_without_another_job(bench: Bench) -> None:
    bench.jobs.submit(Job(turn="t1", stream="mic", work=Parked(failed_stage="remember", reason="disk full", transcript="hello")))
    bench.hear("t2", "are you there")  # waits until no earlier turn of its stream has an open job
    bench.answer("Yes.")
    bench.finished("t2")
    assert bench.said("t1") == []
    assert [record.turn for record in bench.stored()] == ["t2"]
