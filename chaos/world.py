"""A running assistant as the driver of faults sees it: its processes by name, its streams, its log."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.instance import REHEARSAL, BenchError, wait_for
from bus.addresses import Addresses, is_locked
from chaos.faults import CONSOLE, LAUNCHER, TAP
from supervisor.instance import is_running
from supervisor.modules import command, environ

SETTINGS = (
    "vad.preset=command",
    "whisper.workers=2",
    "rehearsal_llm.first_token_delay_ms=5",
    "rehearsal_llm.token_delay_ms=1",
    "tts.engine=espeak",
    "speaker.output=none",
    "speaker.pace=fast",
)
"""Short silences, quick answers, and a voice that takes no time to be heard, so that a turn costs little."""
UNNATURAL = (
    "launcher.restart_budget=1000",
    "launcher.restart_window_s=1",
    "launcher.restart_max_s=0.05",
    "jobs.max_attempts=20",
)
"""Somebody dies all the time here. With the usual limits the launcher would rightly give an actor up, and the dispatcher a job."""
STOP_S = 15.0
AGAIN_S = 0.3
"""Between two starts of the same process."""


@dataclass(frozen=True, slots=True)
class Life:
    """One process of an actor."""

    pid: int
    incarnation: str
    """As the launcher's log names it; empty for processes that are not its children."""


class World:
    """The processes of one assistant, and of those beside it that nobody but us starts again."""

    def __init__(self, directory: Path, settings: Sequence[str], bad_workers: Sequence[str] = ()) -> None:
        """Make the directories. `bad_workers`: kinds of bad transcribers to be kept running beside the real ones."""
        self.addresses = Addresses(directory / "run", directory / "state")
        self.addresses.prepare()
        self.begun_ns = time.time_ns()
        self._directory = directory
        self._settings = [part for setting in settings for part in ("--set", setting)]
        self._bad_workers = bad_workers
        self._kept: dict[str, subprocess.Popen[bytes]] = {}
        self._lives: Counter[str] = Counter()
        self._due_s: dict[str, float] = {}

    @property
    def launcher(self) -> int:
        """Process id."""
        return self._kept[LAUNCHER].pid

    @property
    def journal(self) -> Path:
        return self.addresses.logs_dir / "launcher.log"

    @property
    def environ(self) -> dict[str, str]:
        return {**environ(), **self.addresses.environ, "NO_COLOR": "1"}

    def children(self) -> dict[str, Life]:
        """The launcher's living children by name, by the kernel's word: the launcher itself may be stopped just now."""
        found: dict[str, Life] = {}
        for pid in _children(self.launcher):
            with suppress(OSError):
                name = _name(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))
                if name:
                    found[name] = Life(pid, _variable(pid, "EARSHOT_INCARNATION"))
        return found

    def life(self, actor: str) -> Life | None:
        """The process of an actor, of the launcher or of the tap; None when there is none just now."""
        if actor in (LAUNCHER, TAP):
            return Life(self._kept[actor].pid, "") if self._lives_on(actor) else None
        return self.children().get(actor)

    def source(self, stream: str) -> Life | None:
        """The source of a stream; None when there is none just now."""
        lock = self.addresses.audio_file(stream, "lock")
        if not is_locked(lock):
            return None
        with suppress(OSError, ValueError):
            return Life(int(lock.read_text()), "")
        return None

    def start(self) -> None:
        """Start the assistant in the foreground, its conversation written to a file. Raises BenchError when it does not become ready."""
        self._start_launcher()
        ready = JournalTail(self.journal)

        def is_ready() -> bool:
            if not self._lives_on(LAUNCHER):
                raise BenchError(f"`supervisor start` ended: {(self._directory / 'launcher.err').read_text().strip()[-500:]}")
            with suppress(FileNotFoundError):
                ready.read()
            return LAUNCHER in ready.ready

        wait_for(is_ready, "a start")

    def keep(self) -> None:
        """Start again whom nobody else does: the launcher, a tap of all events, the bad workers."""
        if not self._lives_on(LAUNCHER) and self._is_due(LAUNCHER):
            self._start_launcher()
        if not is_running(self.addresses):
            return
        if not self._lives_on(TAP) and self._is_due(TAP):
            self._start(TAP, command("supervisor.cli", "tap", "--json"))
        for kind in self._bad_workers:
            if not self._lives_on(kind) and self._is_due(kind):
                self._start(kind, command("chaos.bad_workers", kind), EARSHOT_CONFIG=str(self.addresses.config))

    def end(self) -> None:
        """Stop all of it."""
        launcher = self._kept.pop(LAUNCHER, None)
        for process in self._kept.values():
            process.kill()
            process.wait()
        if launcher is None:
            return
        launcher.send_signal(signal.SIGCONT)
        launcher.terminate()
        try:
            launcher.wait(STOP_S)
        except subprocess.TimeoutExpired:
            launcher.kill()
            launcher.wait()

    def _lives_on(self, name: str) -> bool:
        return name in self._kept and self._kept[name].poll() is None

    def _is_due(self, name: str) -> bool:
        """Not more often than a few times a second."""
        now_s = time.monotonic()
        due = now_s >= self._due_s.get(name, 0.0)
        if due:
            self._due_s[name] = now_s + AGAIN_S
        return due

    def _start_launcher(self) -> None:
        self._start(LAUNCHER, command("supervisor.cli", "start", "--config", str(REHEARSAL), *self._settings))

    def _start(self, name: str, argv: Sequence[str], **variables: str) -> None:
        self._lives[name] += 1
        surroundings = {**self.environ, **variables, "EARSHOT_INCARNATION": f"chaos.{self._lives[name]}"}
        surroundings["EARSHOT_PARENT_PID"] = str(os.getpid())
        surroundings.pop("JOURNAL_STREAM", None)  # with it there would be no console
        output = "console.txt" if name == LAUNCHER else os.devnull
        # A process group of its own: Ctrl+C is for the run alone, which then ends the rest in order.
        with (self._directory / output).open("ab") as out, (self._directory / f"{name}.err").open("ab") as errors:
            self._kept[name] = subprocess.Popen(
                argv, env=surroundings, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, process_group=0
            )


@contextmanager
def world(directory: Path, settings: Sequence[str], bad_workers: Sequence[str] = ()) -> Iterator[World]:
    """An assistant that is ready; stopped at the end. Raises BenchError when it does not become ready."""
    running = World(directory, settings, bad_workers)
    try:
        running.start()
        yield running
    finally:
        running.end()


class JournalTail:
    """Reads the launcher's log as it grows, and keeps when which life of which actor was ready."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self.ready: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        """By actor: (wall time in ns, incarnation), oldest first."""

    def read(self) -> None:
        """Take in the lines that have come since."""
        with self._path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < self._read_bytes:
                self._read_bytes = 0  # it was trimmed
            file.seek(self._read_bytes)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        for line in whole.decode().splitlines():
            when, name, incarnation, state = [*line.split(" ", 3), "", "", ""][:4]
            if state.startswith("ready"):
                self.ready[name].append((round(datetime.fromisoformat(when).timestamp() * 1e9), incarnation))


def has_run(pid: int) -> int:
    """How often the threads of a process have given the processor up by themselves: it grows while the process is at work."""
    total = 0
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            status = (task / "status").read_text()
            total += int(status.partition("\nvoluntary_ctxt_switches:")[2].split(maxsplit=1)[0])
    return total


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _name(argv: Sequence[bytes]) -> str:
    if b"supervisor.views.console" in argv:
        return CONSOLE
    return argv[argv.index(b"actors") + 1].decode() if b"actors" in argv[:-1] else ""


def _variable(pid: int, name: str) -> str:
    for line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        key, _, value = line.partition(b"=")
        if key.decode() == name:
            return value.decode()
    return ""
