"""An instance without ears and without a model, for tests of turns through the real `dialogue` and `memory`."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import zmq

from actors.memory.store import Store
from bus.addresses import Addresses
from bus.codec import Stamp
from bus.events import Publisher, Subscriber, wait_until_heard
from bus.jobs import JobClient, Lease
from bus.messages.base import Message
from bus.messages.jobs import Answer, Answered, Heard, Job, JobMoved
from bus.messages.turn import TurnFinished, TurnRecord
from bus.settings import (
    DialogueSettings,
    InstanceSettings,
    JobsSettings,
    LlmSettings,
    MemorySettings,
    Role,
    Settings,
    TtsSettings,
    dump_resolved,
)
from bus.texts import Texts
from supervisor.notify import NotifySocket
from tests.waiting import DEADLINE_S, pump_until, wait_until

UNREACHABLE = "http://127.0.0.1:9/v1"
GUIDE = DialogueSettings(
    role="guide",
    roles={"guide": Role(prompt="Show around.", max_tokens=128)},
    texts={"en": Texts(reprompt="Pardon?", confirm="Was it {words}?", dropped="Fine.", silence="Anything else?", no_model="Sorry!")},
)


class Bench:
    """An instance without ears and without a model: broker, dispatcher, dialogue, memory, and a hand in place of the rest."""

    def __init__(self, directory: Path, stack: ExitStack, llm_url: str = UNREACHABLE, dialogue: DialogueSettings = GUIDE) -> None:
        self.addresses = Addresses(directory / "run", directory / "state")
        self.addresses.prepare()
        settings = Settings(
            instance=InstanceSettings(str(self.addresses.runtime_dir), str(self.addresses.state_dir)),
            dialogue=dialogue,
            memory=MemorySettings(rounds=2, trim_block=2),
            llm=LlmSettings(url=llm_url, model="tiny"),
            jobs=JobsSettings(max_attempts=2),
            tts=TtsSettings(engine="none"),
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
        self.publisher = Publisher(context, self.addresses.events_in, Stamp("bench", "1"))
        self.events = Subscriber(context, self.addresses.events_out, ("reply.", "turn.", "job.", "wake."))
        self.seen: list[Message] = wait_until_heard(self.publisher, self.events, DEADLINE_S)
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

    def hear(
        self, turn: str, transcript: str, speech_ms: int = 2000, marks: dict[str, int] | None = None, *, doubtful: bool = False
    ) -> None:
        work = Heard(transcript=transcript, doubtful=doubtful, speech_ms=speech_ms)
        self.jobs.submit(Job(turn=turn, stream="mic", work=work, marks=marks or {}))

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

    def said(self, turn: str, at_least: int = 0) -> list[object]:
        """What was told of the reply, once there is so much of it. The end of a turn is told by another process, perhaps before that."""
        self.until(lambda: len(self._said(turn)) >= at_least)
        return self._said(turn)

    def _said(self, turn: str) -> list[object]:
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
