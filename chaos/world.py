"""A running assistant as the driver of faults sees it: its processes by name, its streams, its log."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from bench.instance import REHEARSAL, wait_for
from bus.addresses import Addresses, is_locked
from chaos.faults import CONSOLE, LAUNCHER, TAP
from supervisor.modules import command, environ
from supervisor.notify import NotifySocket

SETTINGS = (
    "vad.preset=command",
    "whisper.workers=2",
    "rehearsal_llm.first_token_delay_ms=5",
    "rehearsal_llm.token_delay_ms=1",
)
"""Short silences and quick answers, so that a turn costs little."""
UNNATURAL = (
    "launcher.restart_budget=1000",
    "launcher.restart_window_s=1",
    "launcher.restart_max_s=0.05",
    "jobs.max_attempts=20",
)
"""Somebody dies all the time here. With the usual limits the launcher would rightly give an actor up, and the dispatcher a job."""
STOP_S = 15.0


@dataclass(frozen=True, slots=True)
class Life:
    """One process of an actor."""

    pid: int
    incarnation: str
    """As the launcher's log names it; empty for processes that are not its children."""


@dataclass
class World:
    """The processes of one assistant."""

    addresses: Addresses
    launcher: int
    """Process id."""
    begun_ns: int
    """Wall time before its start."""
    bad_workers: Sequence[str] = ()
    """Kinds of bad transcribers to be kept running beside the real ones."""
    _kept: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _lives: Counter[str] = field(default_factory=Counter)

    @property
    def journal(self) -> Path:
        return self.addresses.logs_dir / "launcher.log"

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
        if actor == LAUNCHER:
            return Life(self.launcher, "")
        if actor == TAP:
            return Life(self._kept[TAP].pid, "") if self._lives_on(TAP) else None
        return self.children().get(actor)

    def source(self, stream: str) -> Life | None:
        """The source of a stream; None when there is none just now."""
        lock = self.addresses.audio_file(stream, "lock")
        if not is_locked(lock):
            return None
        with suppress(OSError, ValueError):
            return Life(int(lock.read_text()), "")
        return None

    def keep(self) -> None:
        """Have somebody who taps all events, and the bad workers: nobody else starts a dead one again."""
        if not self._lives_on(TAP):
            self._start(TAP, command("supervisor.cli", "tap", "--json"))
        for kind in self.bad_workers:
            if not self._lives_on(kind):
                self._start(kind, command("chaos.bad_workers", kind))

    def _lives_on(self, name: str) -> bool:
        return name in self._kept and self._kept[name].poll() is None

    def _start(self, name: str, argv: Sequence[str]) -> None:
        self._lives[name] += 1
        own = {
            "EARSHOT_CONFIG": str(self.addresses.config),
            "EARSHOT_INCARNATION": f"chaos.{self._lives[name]}",
            "EARSHOT_PARENT_PID": str(os.getpid()),
        }
        with (self.addresses.logs_dir / f"{name}.log").open("ab") as errors:
            self._kept[name] = subprocess.Popen(
                argv, env={**self.environ, **own}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
            )

    @property
    def environ(self) -> dict[str, str]:
        return {**environ(), **self.addresses.environ, "NO_COLOR": "1"}

    def end_kept(self) -> None:
        for process in self._kept.values():
            process.kill()
            process.wait()


@contextmanager
def world(directory: Path, settings: Sequence[str], bad_workers: Sequence[str] = ()) -> Iterator[World]:
    """Start an assistant in the foreground, its conversation written to a file; yield it once it is ready; stop it at the end.

    Raises BenchError when it does not become ready.
    """
    addresses = Addresses(directory / "run", directory / "state")
    addresses.prepare()
    notices = NotifySocket(f"@earshot-chaos-{os.getpid()}-{id(addresses)}")
    sets = [part for setting in settings for part in ("--set", setting)]
    argv = command("supervisor.cli", "start", "--config", str(REHEARSAL), *sets)
    surroundings = {**environ(), **addresses.environ, "NOTIFY_SOCKET": notices.address, "NO_COLOR": "1"}
    surroundings.pop("JOURNAL_STREAM", None)  # with it there would be no console
    begun_ns = time.time_ns()
    with (directory / "console.txt").open("wb") as output, (directory / "start.txt").open("wb") as errors:
        process = subprocess.Popen(argv, env=surroundings, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
    running = World(addresses, process.pid, begun_ns, bad_workers)
    try:
        wait_for(lambda: any("READY" in notice.values for notice in notices.receive()) or process.poll() is not None, "a start")
        if process.poll() is not None:
            raise RuntimeError(f"`supervisor start` ended: {(directory / 'start.txt').read_text().strip()[-500:]}")
        yield running
    finally:
        notices.close()
        running.end_kept()
        os.kill(process.pid, signal.SIGCONT)
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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
