"""Files spoken to the assistant as a user would: each by a `supervisor hear` of its own, on a stream of its own."""

from __future__ import annotations

import json
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.world import World
from supervisor.instance import is_running
from supervisor.modules import command

COMPLAINT_CHARACTERS = 300


@dataclass(slots=True)
class Speaking:
    """One file on its way through the assistant."""

    stream: str
    process: subprocess.Popen[bytes]
    output: Path
    begun_s: float
    file: Path


@dataclass(frozen=True, slots=True)
class Spoken:
    """One file that is through."""

    stream: str
    shown: tuple[str, ...]
    """The turns that were printed, in order."""
    took_s: float
    overdue: bool
    complaint: str
    """What was said on standard error by a `hear` that failed."""


class Speakers:
    """Speaks the files in their order, a few at a time."""

    def __init__(
        self,
        world: World,
        directory: Path,
        files: Sequence[tuple[str, Path]],
        *,
        at_once: int,
        patience_s: float,
        paces: Sequence[str] = ("fast", "real"),
    ) -> None:
        """`files`: (stream, file). One that is not through after `patience_s` is overdue, and ended. The paces take turns: at real pace
        work is done ahead of time; at full pace a segmenter has much to catch up with."""
        self._world = world
        self._directory = directory
        self._waiting = deque(files)
        self._paces = deque(paces)
        self._at_once = at_once
        self._patience_s = patience_s
        self.speaking: list[Speaking] = []
        self.spoken: list[Spoken] = []

    @property
    def over(self) -> bool:
        return not self._waiting and not self.speaking

    def step(self) -> None:
        """Look after those who speak; to be called again and again."""
        for current in list(self.speaking):
            if current.process.poll() is not None or time.monotonic() > current.begun_s + self._patience_s:
                self.speaking.remove(current)
                if _was_refused(current):
                    self._waiting.appendleft((current.stream, current.file))
                else:
                    self.spoken.append(self._end(current))
        while self._waiting and len(self.speaking) < self._at_once and is_running(self._world.addresses):
            self._begin(*self._waiting.popleft())

    def enough(self) -> None:
        """Begin no other file; those that are being said are said to their end."""
        self._waiting.clear()

    def close(self) -> None:
        for current in self.speaking:
            current.process.kill()
            current.process.wait()

    def _begin(self, stream: str, file: Path) -> None:
        output = self._directory / f"{stream}.jsonl"
        self._paces.rotate()
        argv = command("supervisor.cli", "hear", "--json", "--pace", self._paces[0], "--stream", stream, str(file))
        with output.open("wb") as out, output.with_suffix(".err").open("wb") as errors:
            process = subprocess.Popen(argv, env=self._world.environ, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, process_group=0)
        self.speaking.append(Speaking(stream, process, output, time.monotonic(), file))

    def _end(self, current: Speaking) -> Spoken:
        overdue = current.process.poll() is None
        current.process.kill()
        status = current.process.wait()
        shown = tuple(json.loads(line)["turn"] for line in current.output.read_text().splitlines() if line.endswith("}"))
        said = current.output.with_suffix(".err").read_text().strip()
        complaint = "" if overdue or not status else f"`hear` ended with {status}: {said[-COMPLAINT_CHARACTERS:]}"
        return Spoken(current.stream, shown, time.monotonic() - current.begun_s, overdue, complaint)


def _was_refused(current: Speaking) -> bool:
    """Whether the launcher had just died when `hear` came. It heard nothing, said so, and its user says it again."""
    if not current.process.poll() or current.output.stat().st_size:
        return False
    return current.output.with_suffix(".err").read_text().startswith("error: no assistant is running")
