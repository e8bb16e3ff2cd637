"""A running assistant on the rehearsal kit, driven as a user drives it: by its command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zmq

from bus.addresses import Addresses
from bus.codec import Stamp
from bus.errors import NoInstance
from bus.events import Publisher, Subscriber, wait_until_heard
from bus.messages.base import Message
from supervisor.client import status
from supervisor.hear import FAILED_TURNS
from supervisor.instance import is_running
from supervisor.views.status import json_line
from tests.waiting import DEADLINE_S, pump_until, wait_until

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "assets" / "speech"
CONVERSATION = json.loads((SPEECH / "conversation.json").read_text())["utterances"]
SENTENCES = [utterance["text"] for utterance in CONVERSATION if utterance["expected"] == "turn"]
SUPERVISOR = (sys.executable, "-m", "supervisor.cli")
COMMAND_TIMEOUT_S = 150
"""For a command or a program to come to its end. Only what fails takes so long."""
PATIENT = "launcher.watchdog_s=20"
"""A machine that is busy with other things is no reason for a restart."""


def words(text: str) -> list[str]:
    """The words of a sentence, without case and punctuation."""
    return re.findall(r"[a-z0-9']+", text.lower())


@dataclass
class Assistant:
    """One instance, in directories of its own."""

    addresses: Addresses
    options: tuple[str, ...] = ()

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, **self.addresses.environ, "NO_COLOR": "1", "COLUMNS": "100"}

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        done = subprocess.run(
            [*SUPERVISOR, *arguments], cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
        assert not check or done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def popen(self, *arguments: str, output: Path | None = None) -> subprocess.Popen[str]:
        """Begin a command that goes on meanwhile; what it prints goes through a pipe, or into the file `output`."""
        command = [*SUPERVISOR, *arguments]
        with output.open("w") if output else nullcontext(subprocess.PIPE) as stdout:
            return subprocess.Popen(command, cwd=ROOT, env=self.environ, stdout=stdout, stderr=subprocess.PIPE, text=True)

    def start(self) -> None:
        self.run("start", "--config", "config/rehearsal.toml", *self.options, "--detach")

    def stop(self) -> None:
        self.run("stop", check=False)

    def hear(self, *files: Path | str, pace: str = "fast") -> list[dict[str, Any]]:
        """Let it hear files; return one object per turn."""
        done = self.run("hear", "--json", "--pace", pace, *map(str, files), check=False)
        turns = lines(done.stdout)
        expected = FAILED_TURNS if any(turn["state"] == "failed" for turn in turns) else 0
        assert done.returncode == expected, f"hear ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return turns

    def status(self) -> dict[str, dict[str, Any]]:
        """The actors by name, with what `status --json` prints of each; asked without a process of its own, for tests look often."""
        return {actor.actor: json.loads(json_line(actor)) for actor in status(self.addresses, DEADLINE_S).actors}

    def detail(self, actor: str) -> str:
        """What `status` tells of an actor below its table."""
        return next(each.detail for each in status(self.addresses, DEADLINE_S).actors if each.actor == actor)

    def state_of_affairs(self) -> str:
        """For the message of a test that waits in vain: every actor, where the last turns were, and the end of the log."""
        asked = (("status",), ("turns", "--last", "3"), ("logs",))
        return "\n".join("\n".join(self.run(*each, check=False).stdout.splitlines()[-25:]) for each in asked)

    def is_ready(self) -> bool:
        """Whether it runs, answers, and has been ready as a whole."""
        try:
            return status(self.addresses, DEADLINE_S).ready
        except NoInstance:
            return False

    def remembered(self) -> list[dict[str, Any]]:
        """Every turn in the memory store."""
        return lines(self.run("memory", "export", "--json").stdout)

    def kill(self, actor: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to an actor's process; return its id."""
        pid = int(self.status()[actor]["pid"])
        os.kill(pid, number)
        return pid

    def wait_until_ready(self, actor: str, but_not_pid: int = 0) -> None:
        """Wait until the actor is ready, in another process than the given one."""

        def ready() -> bool:
            found = self.status()[actor]
            return bool(found["state"] == "ready" and found["pid"] != but_not_pid)

        self.wait_until(ready)

    def wait_until(self, condition: Callable[[], object], interval_s: float = 0.01) -> None:
        """Look until it is so; who waits in vain is told how everything stood."""
        wait_until(condition, interval_s=interval_s, explain=self.state_of_affairs)

    def rehearse(self, **behaviour: object) -> None:
        """Tell the rehearsal server how to behave from the next request on."""
        port = (self.addresses.runtime_dir / "rehearsal-llm.port").read_text().strip()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/rehearsal", json.dumps(behaviour).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=DEADLINE_S):
            pass

    @contextmanager
    def events(self, *topics: str) -> Iterator[Events]:
        """Follow the events of these topics."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        publisher = Publisher(context, self.addresses.events_in, Stamp("test", "1"))
        subscriber = Subscriber(context, self.addresses.events_out, topics)
        wait_until_heard(publisher, subscriber, DEADLINE_S)
        try:
            yield Events(subscriber, self.state_of_affairs)
        finally:
            context.destroy(linger=0)


@dataclass
class Events:
    """What has been heard so far on the bus."""

    subscriber: Subscriber
    explain: Callable[[], str]

    def __post_init__(self) -> None:
        self.heard: list[Message] = []

    def wait_for(self, topic: str, deadline_s: float = DEADLINE_S, sender: str = "", **fields: object) -> Message:
        """The next event of that topic, of that sender if one is named, whose body has these fields; those before it are forgotten."""
        found = self.within(deadline_s, topic, sender, **fields)
        assert found, f"not within {deadline_s} s: {topic} {sender} {fields or ''}\n{self.explain()}"
        return found

    def within(self, seconds: float, topic: str, sender: str = "", **fields: object) -> Message | None:
        """The same, or None when there is no such event within that time."""
        end_s = time.monotonic() + seconds
        while True:
            self.heard.extend(self.subscriber.receive())
            while self.heard:
                message = self.heard.pop(0)
                is_wanted = message.topic == topic and sender in ("", message.envelope.sender)
                if is_wanted and all(getattr(message.body, name) == value for name, value in fields.items()):
                    return message
            if time.monotonic() >= end_s:
                return None
            self.subscriber.socket.poll(50)

    def up_to(self, topic: str) -> list[Message]:
        """The next event of that topic, after all that came before it."""
        found: list[Message] = []

        def look() -> None:
            self.subscriber.socket.poll(50)
            self.heard.extend(self.subscriber.receive())
            while self.heard and not (found and found[-1].topic == topic):
                found.append(self.heard.pop(0))

        pump_until(lambda: found and found[-1].topic == topic, look, explain=lambda: f"{topic}\n{self.explain()}")
        return found


def assert_adds_up(turn: dict[str, Any]) -> None:
    """What `supervisor turns` promises of a turn as JSON: within 1 ms, in all and up to the first word."""
    durations = [(part["duration_ms"], part["critical"]) for part in turn["parts"]]
    first_word_ms = turn["total_ms"] if turn["first_word_ms"] is None else turn["first_word_ms"]
    assert sum(duration_ms for duration_ms, _ in durations) == pytest.approx(turn["total_ms"], abs=1)
    assert sum(duration_ms for duration_ms, critical in durations if critical) == pytest.approx(first_word_ms, abs=1)


def lines(text: str) -> list[dict[str, Any]]:
    """JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


def everything_in(directory: Path) -> bytes:
    """What stands in any file below, in lower case."""
    return b"".join(_contents(path) for path in directory.rglob("*") if path.is_file()).lower()


def _contents(path: Path) -> bytes:
    """What stands in a file; nothing in one that has gone since it was listed."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


@contextmanager
def placed(*options: str, runtime: Path | None = None, state: Path | None = None) -> Iterator[Assistant]:
    """An assistant with these `--set` options that is not started yet, and stopped at the end if it still runs."""
    with tempfile.TemporaryDirectory(prefix="ear") as directory:
        addresses = Addresses(runtime or Path(directory) / "run", state or Path(directory) / "state")
        found = Assistant(addresses, tuple(part for option in options for part in ("--set", option)))
        try:
            yield found
        finally:
            if is_running(addresses):
                found.stop()


@contextmanager
def assistant(*options: str) -> Iterator[Assistant]:
    """An assistant with these `--set` options that is stopped at the end."""
    with placed(*options) as started:
        started.start()
        yield started
