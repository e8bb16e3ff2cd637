"""A file heard by the assistant at the pace of a microphone, and what was told about it meanwhile."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import zmq

from bench.instance import Assistant, BenchError
from bus.audio import AudioReader, Frame
from bus.codec import Stamp
from bus.events import Publisher, Subscriber, wait_until_heard
from bus.limits import FRAME_SAMPLES, SAMPLE_RATE_HZ
from bus.messages.base import Message
from supervisor.modules import command, environ

STREAM = "bench"
CONNECT_S = 5.0
LOOK_MS = 100


@dataclass
class Hearing:
    """One file heard by the assistant: what was told meanwhile, and what became of each turn."""

    zero_ns: int | None = None
    """When the file's first sample would have been spoken, monotonic: delays only add, so the earliest that any frame tells."""
    messages: list[Message] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)

    def at_ns(self, sample: int) -> int:
        """When that sample was heard. Raise BenchError when no sound was."""
        if self.zero_ns is None:
            raise BenchError("the assistant's source was not heard")
        return self.zero_ns + sample * 1_000_000_000 // SAMPLE_RATE_HZ


class Listener:
    """Hears what the assistant hears and what it says about it."""

    def __init__(self, running: Assistant, topics: tuple[str, ...]) -> None:
        """`topics`: of the events that are wanted."""
        self._addresses = running.addresses
        self._topics = topics
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._stamp = Stamp("bench", "1")

    def __enter__(self) -> Self:
        publisher = Publisher(self._context, self._addresses.events_in, self._stamp)
        self._subscriber = Subscriber(self._context, self._addresses.events_out, self._topics)
        wait_until_heard(publisher, self._subscriber, CONNECT_S)
        publisher.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._subscriber.close()
        self._context.term()

    def hear(self, file: Path) -> Hearing:
        """Let the assistant hear a file at its own pace, through a source like any other. Raise BenchError when it cannot."""
        argv = command("supervisor.cli", "hear", "--json", "--pace", "real", "--stream", STREAM, str(file))
        found = Hearing()
        reader = AudioReader(self._context, self._addresses, STREAM, self._stamp)
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(argv, env={**environ(), **self._addresses.environ}, stdout=output, text=True)
            try:
                self._follow(process, reader, found)
            finally:
                process.kill()
                process.wait()
                reader.close()
            output.seek(0)
            found.turns = [json.loads(line) for line in output]
        if process.returncode != 0:
            raise BenchError(f"`supervisor hear` ended with status {process.returncode} after {len(found.turns)} turns")
        return found

    def _follow(self, process: subprocess.Popen[str], reader: AudioReader, found: Hearing) -> None:
        poller = zmq.Poller()
        for socket in (reader.live, reader.history, self._subscriber.socket):
            poller.register(socket, zmq.POLLIN)
        while process.poll() is None:
            if not poller.poll(LOOK_MS):
                reader.tick()
            for heard in reader.read():
                if isinstance(heard, Frame):
                    begin_ns = heard.captured_ns - (heard.first_sample + FRAME_SAMPLES) * 1_000_000_000 // SAMPLE_RATE_HZ
                    found.zero_ns = begin_ns if found.zero_ns is None else min(found.zero_ns, begin_ns)
            found.messages += self._subscriber.receive()
