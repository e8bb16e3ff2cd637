"""Programs of Earshot, started in a place of their own and ended afterwards."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

from bench.system import ready_after_s
from bus.addresses import Addresses
from bus.messages.control import ControlState, ControlStatus
from supervisor.control import ask
from supervisor.modules import ROOT, command, environ
from supervisor.notify import NotifySocket

REHEARSAL = ROOT / "config" / "rehearsal.toml"
READY_S = 60.0
STOP_S = 10.0
LOOK_INTERVAL_S = 0.005


Pipe: TypeAlias = "Connection[Any, Any]"
"""One end of the talk with a child of ours."""


class BenchError(Exception):
    """Something that is to be measured does not work."""


@contextmanager
def place() -> Iterator[Addresses]:
    """The directories of a new instance, removed afterwards. The name is short: a socket's name may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="eb-") as directory:
        addresses = Addresses(Path(directory) / "run", Path(directory) / "state")
        addresses.prepare()
        yield addresses


@contextmanager
def running(
    argv: tuple[str, ...], addresses: Addresses, stdin: int = subprocess.DEVNULL, variables: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Start a program that says READY=1, and wait for that; yield its process id. It is stopped at the end."""
    notices = NotifySocket(f"@earshot-bench-{os.getpid()}-{time.monotonic_ns()}")
    log = addresses.state_dir / "bench.log"
    with log.open("ab") as output:
        env = {**_environ(addresses, notices.address), **(variables or {})}
        process = subprocess.Popen(argv, env=env, stdin=stdin, stdout=subprocess.DEVNULL, stderr=output)
    try:
        wait_for(lambda: any(notice.values.get("READY") for notice in notices.receive()) or process.poll() is not None, "a start")
        if process.poll() is not None:
            raise BenchError(f"{' '.join(argv)} ended with status {process.returncode}: {log.read_text().strip()[-500:]}")
        yield process.pid
    finally:
        notices.close()
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environ(addresses: Addresses, notify: str) -> dict[str, str]:
    found = {**environ(), **addresses.environ, "NOTIFY_SOCKET": notify}
    found.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling the sources at each start is not how anybody runs it
    return found


@contextmanager
def actors(*names: str) -> Iterator[Addresses]:
    """Some actors with no launcher over them."""
    with place() as addresses, ExitStack() as stack:
        for name in names:
            stack.enter_context(running(command("actors", name), addresses))
        yield addresses


@dataclass(frozen=True)
class Assistant:
    """A running rehearsal assistant."""

    addresses: Addresses
    pid: int
    """Of its launcher."""
    begun_ns: int
    """Wall time just before its program was started."""

    @property
    def journal(self) -> str:
        """What the launcher has written down so far."""
        return (self.addresses.logs_dir / "launcher.log").read_text()

    def pids(self) -> dict[str, int]:
        """The processes of the actors that are alive, by name."""
        state = ask(self.addresses, ControlStatus(), ControlState)
        return {actor.actor: actor.pid for actor in state.actors if actor.pid}

    def ready_after_s(self, since_ns: int) -> dict[str, float]:
        """For each actor the time from `since_ns` until it was ready, so far."""
        return ready_after_s(self.journal, since_ns)


@contextmanager
def assistant(*settings: str) -> Iterator[Assistant]:
    """The assistant of config/rehearsal.toml, ready, some settings of which may be changed: `vad.mode=2`."""
    with place() as addresses:
        begun_ns = time.time_ns()
        changes = [word for setting in settings for word in ("--set", setting)]
        with running(command("supervisor.cli", "start", "--config", str(REHEARSAL), *changes), addresses) as pid:
            yield Assistant(addresses, pid, begun_ns)


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = READY_S) -> None:
    """Look again and again. Raise BenchError when it takes too long."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            raise BenchError(f"waited {timeout_s:g} s for {what} in vain")
        time.sleep(LOOK_INTERVAL_S)


@contextmanager
def child(target: Callable[..., None], *arguments: Any) -> Iterator[tuple[Pipe, int]]:
    """Run `target(pipe, *arguments)` in a new process; yield the other end of the pipe and the process id.

    It is killed at the end. Whoever closes the pipe before lets it end by itself: model libraries leave semaphores behind else.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()  # or the child would never see that ours is closed
    try:
        assert process.pid is not None
        yield ours, process.pid
    finally:
        if ours.closed:
            process.join(STOP_S)
        process.kill()
        process.join()


def answer(pipe: Pipe, what: str, timeout_s: float = READY_S) -> Any:
    """What the child says next. Raise BenchError when it says nothing."""
    if not pipe.poll(timeout_s):
        raise BenchError(f"waited {timeout_s:g} s for {what} in vain")
    return pipe.recv()
