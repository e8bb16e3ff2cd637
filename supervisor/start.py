"""`supervisor start`: from checked settings to a running assistant, here or in the background."""

from __future__ import annotations

import faulthandler
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Final

from bus.addresses import Addresses
from bus.errors import EarshotError, SetupError
from bus.notify import Notifier
from bus.settings import Settings, dump_resolved
from supervisor.children import Child, plan
from supervisor.client import LOOK_INTERVAL_S, status, wait_while_stopping
from supervisor.instance import is_running, take
from supervisor.launcher import NAME, Launcher
from supervisor.loop import Loop, Signals
from supervisor.modules import command, environ
from supervisor.notify import NotifySocket
from supervisor.placement import plan_for
from supervisor.process import open_log, trim
from supervisor.remembered import newest_number
from supervisor.restart import RestartLimits
from supervisor.topology import this_machine
from supervisor.ward import Patience

SETTLE_S: Final = 8.0
"""So long, at most, `start --detach` waits to hear whether the model's server is there: more than `llm.connect_timeout_s`."""


def run(settings: Settings, *, console: bool) -> None:
    """Be the launcher until it is over.

    Raises EarshotError when it cannot start or ends because something failed, SetupError when only the user can put it right.
    """
    faulthandler.enable()  # on SIGABRT too, by which systemd asks for the stacks
    try:
        _run(settings, console)
    except EarshotError as error:
        Notifier().tell(X_EARSHOT_REASON=str(error))  # to `start --detach`, which tells the user
        raise


def _run(settings: Settings, console: bool) -> None:
    addresses = addresses_of(settings)
    children = plan(settings, plan_for(this_machine(), settings.whisper), foreground=console)
    wait_while_stopping(addresses)
    before = newest_number(addresses) if settings.launcher.until == "source-ends" and console else None
    launch(settings, addresses, children)
    if before is not None:
        from supervisor.views.turns import show_after

        show_after(addresses, before)


def launch(settings: Settings, addresses: Addresses, children: Sequence[Child]) -> None:
    """Take the lock and keep these children alive until they are stopped, or are done. Raises EarshotError when one of them failed."""
    try:
        lock = take(addresses)
        try:
            write_private(addresses.config, dump_resolved(settings))
            with Launcher(
                children,
                addresses,
                patience(settings),
                until_source_ends=settings.launcher.until == "source-ends",
                keep_crashes=settings.launcher.keep_crashes,
            ) as launcher:
                outcome = launcher.run()
        finally:
            lock.release()
    except OSError as error:
        raise EarshotError(f"cannot start in {error.filename or addresses.runtime_dir}: {error.strerror}; see to that disk") from None
    if outcome.failure:
        raise (SetupError if outcome.misconfigured else EarshotError)(outcome.failure)


def addresses_of(settings: Settings) -> Addresses:
    """Where the settings place the instance."""
    return Addresses(Path(settings.instance.runtime_dir), Path(settings.instance.state_dir))


def patience(settings: Settings) -> Patience:
    launcher = settings.launcher
    restart = RestartLimits(
        initial_s=launcher.restart_initial_ms / 1000,
        max_s=launcher.restart_max_s,
        budget=launcher.restart_budget,
        window_s=launcher.restart_window_s,
    )
    return Patience(restart=restart, ready_s=launcher.ready_timeout_s, stop_s=launcher.stop_timeout_s)


def detach(settings: Settings, options: Sequence[str], tell: Callable[[str], None]) -> int:
    """Start a launcher in the background; return its process id once it is ready.

    `tell` gets a line for what the start waits for, and for each actor that is ready but cannot work. `options` are the --config
    and --set options that gave these settings. Raises EarshotError with the reason when it does not become ready. The launcher
    tells us over the same protocol by which actors tell the launcher.
    """
    if settings.mic.source == "stdin":
        raise EarshotError('mic.source = "stdin" needs a foreground start: in the background there is no standard input to listen to')
    addresses = addresses_of(settings)
    addresses.prepare()
    wait_while_stopping(addresses)
    if is_running(addresses):
        take(addresses)  # tells who holds it
    socket = NotifySocket(f"@earshot-start-{os.getpid()}-{secrets.token_hex(4)}")
    log = addresses.logs_dir / f"{NAME}.log"
    trim(log)
    with os.fdopen(open_log(log), "ab") as output:
        process = subprocess.Popen(
            command("supervisor.cli", "start", "--background", *options),
            env={**environ(), **addresses.environ, "NOTIFY_SOCKET": socket.address},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, socket, tell)
    finally:
        socket.close()
    for line in _troubles(addresses):
        tell(line)
    return process.pid


def _troubles(addresses: Addresses) -> list[str]:
    """Why actors that are ready cannot work just now. The model's server is asked after the start, so its answer is waited for."""
    end_s = time.monotonic() + SETTLE_S
    while True:
        actors = status(addresses).actors
        if all(actor.detail for actor in actors if actor.actor == "llm") or time.monotonic() > end_s:
            return [f"{actor.actor}: {actor.trouble}" for actor in actors if actor.trouble]
        time.sleep(LOOK_INTERVAL_S)


def _wait_until_ready(process: subprocess.Popen[bytes], socket: NotifySocket, tell: Callable[[str], None]) -> None:
    said: dict[str, str] = {}

    def listen() -> None:
        for notice in socket.receive():
            if notice.pid == process.pid:
                trouble = notice.values.get("X_EARSHOT_TROUBLE", "")
                if trouble and trouble != said.get("X_EARSHOT_TROUBLE"):
                    tell(trouble)
                said.update(notice.values)

    loop = Loop()
    pidfd = os.pidfd_open(process.pid)
    loop.watch(socket.fileno(), listen)
    loop.watch(pidfd, lambda: None)
    with Signals((SIGINT, SIGTERM)) as signals:
        loop.watch(signals.fileno(), lambda: None)
        while "READY" not in said and process.poll() is None:
            loop.turn()
            if signals.received():
                process.terminate()
                process.wait()
                raise EarshotError("interrupted; nothing was started")
    os.close(pidfd)
    listen()
    if process.poll() == 0:
        raise EarshotError("the assistant was stopped before it was ready")
    if process.returncode is not None:
        raise EarshotError(
            said.get("X_EARSHOT_REASON") or f"the launcher ended with status {process.returncode}; see `supervisor logs {NAME}`"
        )


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only this user can read, and never a half of it."""
    partial = path.with_name(path.name + ".new")
    partial.unlink(missing_ok=True)
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    partial.rename(path)


def options_of(config: Iterable[Path], sets: Iterable[str]) -> list[str]:
    """The command-line options that name these."""
    return [*(f"--config={path}" for path in config), *(f"--set={text}" for text in sets)]
