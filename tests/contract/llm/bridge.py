"""The bridge as a process, with a real broker and a real dispatcher; the test is the ear, the turn manager and the listener."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import zmq

from bus.addresses import Addresses
from bus.codec import Stamp
from bus.events import Publisher, Subscriber, wait_until_heard
from bus.jobs import JobClient, Lease
from bus.messages.base import Body, Message
from bus.messages.jobs import Answer, Job
from bus.messages.turn import Round
from bus.settings import InstanceSettings, LlmSettings, RehearsalLlmSettings, Settings, dump_resolved
from supervisor.notify import NotifySocket
from tests.waiting import DEADLINE_S, wait_until

ROOT = Path(__file__).parents[3]
POLL_MS = 50


class Bench:
    """An instance with the planes and whichever actors a test starts."""

    def __init__(self, directory: Path, llm: LlmSettings) -> None:
        self.addresses = Addresses(directory / "run", directory / "state")
        self.addresses.prepare()
        instance = InstanceSettings(str(self.addresses.runtime_dir), str(self.addresses.state_dir))
        settings = Settings(instance=instance, llm=llm, rehearsal_llm=RehearsalLlmSettings(enabled=True))
        self.addresses.config.write_bytes(dump_resolved(settings))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.events: list[Message] = []
        self.leases: list[Lease] = []
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._notify = NotifySocket(str(self.addresses.notify_socket))
        self._ready: set[int] = set()
        self.statuses: list[str] = []

    def open(self, topics: tuple[str, ...] = ("reply.",)) -> None:
        """Start the planes; listen to events of these topics."""
        self.start("broker")
        self.start("dispatcher")
        stamp = Stamp("test", "1")
        self.publisher = Publisher(self._context, self.addresses.events_in, stamp)
        self._subscriber = Subscriber(self._context, self.addresses.events_out, topics)
        wait_until_heard(self.publisher, self._subscriber, DEADLINE_S)
        self.jobs = JobClient(self._context, self.addresses.jobs, stamp)
        self.jobs.work("turn", self.leases.append)

    def start(self, name: str) -> None:
        """Start an actor, or start it again; return when it is ready, for before that its events may go nowhere."""
        environ = {**os.environ, **self.addresses.environ, "EARSHOT_CONFIG": str(self.addresses.config)}
        environ["NOTIFY_SOCKET"] = str(self.addresses.notify_socket)
        process = self.processes[name] = subprocess.Popen([sys.executable, "-m", "actors", name], env=environ, cwd=ROOT)

        def is_ready() -> bool:
            self._listen()
            return process.pid in self._ready

        wait_until(is_ready)

    def end(self, name: str, number: signal.Signals) -> int:
        """Send a signal, wait for the end, return the exit status."""
        self.processes[name].send_signal(number)
        return self.processes[name].wait(DEADLINE_S)

    def ask(self, text: str, rounds: list[Round] | None = None, *, turn: str = "t1", marks: Mapping[str, int] | None = None) -> None:
        """Submit the job of one turn; what was done of it ahead of time is wanted now."""
        self.jobs.submit(question(text, rounds, turn=turn, marks=marks or {"turn_end": 1}))

    def ask_ahead(self, text: str, *, turn: str = "t1", max_tokens: int = 64) -> None:
        """Have the job of a turn done ahead of time."""
        self.until(lambda: self.jobs.connected)
        self.jobs.speculate(question(text, turn=turn, marks={"turn_end": 1}, max_tokens=max_tokens))

    def until(self, condition: Callable[[], object]) -> None:
        """Handle what arrives until the condition holds."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline_s, f"it did not happen in time; statuses: {self.statuses}"
            self._subscriber.socket.poll(POLL_MS)
            self.events += self._subscriber.receive()
            while self.jobs.monitor.poll(0):
                self.jobs.notice_connection()
            self.jobs.receive()
            self._listen()

    def bodies(self, kind: type[Body]) -> list[Body]:
        return [message.body for message in self.events if isinstance(message.body, kind)]

    def answered(self) -> Job:
        """Wait for the follow-up job of the turn manager."""
        self.until(lambda: bool(self.leases))
        return self.leases[-1].job

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(DEADLINE_S)
        self._notify.close()
        self._context.destroy(linger=0)

    def _listen(self) -> None:
        """Take what the processes tell their parent."""
        for notice in self._notify.receive():
            if "READY" in notice.values:
                self._ready.add(notice.pid)
            if "STATUS" in notice.values:
                self.statuses.append(notice.values["STATUS"])


def question(text: str, rounds: list[Round] | None = None, *, turn: str = "t1", marks: Mapping[str, int], max_tokens: int = 64) -> Job:
    """The job of one turn."""
    work = Answer(transcript=text, role="plain", system="You are kind.", max_tokens=max_tokens, rounds=rounds or [])
    return Job(turn=turn, stream="mic", work=work, marks=dict(marks))


def llm_at(url: str, model: str = "", *, warm: bool = True) -> LlmSettings:
    return LlmSettings(url=url, model=model, warm=warm)
