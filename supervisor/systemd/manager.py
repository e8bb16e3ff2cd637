"""Asking systemd, where it is the supervisor: the same commands that a launcher answers over its control socket."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final, NoReturn

from bus.addresses import SYSTEM_RUNTIME_DIR, Addresses
from bus.errors import EarshotError
from bus.messages.control import ActorInfo, ControlState
from supervisor.control import cpus_of, rss_bytes_of
from supervisor.instance import TARGET, actors_dir, units_mark
from supervisor.process import exit_text
from supervisor.states import EX_CONFIG

ASK_TIMEOUT_S: Final = 10.0
PROPERTIES: Final = (
    "Id", "ActiveState", "SubState", "MainPID", "InvocationID", "NRestarts", "ExecMainStartTimestampMonotonic",
    "StatusText", "Result", "ExecMainCode", "ExecMainStatus",
)  # fmt: skip
CLD_EXITED: Final = 1


def supervises(addresses: Addresses) -> bool:
    """Whether systemd runs the actors of this instance, and no launcher."""
    return units_mark(addresses).exists()


def status(addresses: Addresses) -> ControlState:
    """Everybody's state. Raises EarshotError when systemd does not answer."""
    names = sorted(path.stem for path in actors_dir(addresses).glob("*.env"))
    shown = _ask(addresses, "show", f"--property={','.join(PROPERTIES)}", *map(unit, names)) if names else ""
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in shown.strip().split("\n\n") if block]
    launch, now_s = _launch(addresses), time.monotonic()
    actors = [info(name, block, now_s, launch) for name, block in zip(names, blocks, strict=True)]
    return ControlState(pid=0, ready=all(actor.state == "ready" for actor in actors), actors=actors)


def info(name: str, properties: Mapping[str, str], now_s: float, launch: str) -> ActorInfo:
    """What `systemctl show` tells of one actor. `now_s` is monotonic; `launch` is the first half of all incarnations."""
    pid = int(properties["MainPID"]) or None
    state = _state(properties["ActiveState"], properties["SubState"])
    started_s = int(properties["ExecMainStartTimestampMonotonic"]) / 1e6
    return ActorInfo(
        actor=name,
        state=state,
        pid=pid,
        incarnation=f"{launch}.{properties['InvocationID'][:8]}" if properties["InvocationID"] else "",
        restarts=int(properties["NRestarts"]),
        up_s=round(now_s - started_s, 1) if pid else 0.0,
        phase="",
        cpus=cpus_of(pid),
        rss_bytes=rss_bytes_of(pid) if pid else 0,
        last_exit=_last_exit(properties),
        detail=_detail(name, state, properties),
    )


def restart(addresses: Addresses, actor: str) -> int:
    """Restart an actor, or revive one that has failed; return its process id once it is ready. Raises EarshotError."""
    known = [found.actor for found in status(addresses).actors]
    if actor not in known:
        raise EarshotError(f"there is no actor {actor!r} here; there are {', '.join(known)}")
    _order(addresses, "reset-failed", unit(actor), meant=f"systemctl restart {unit(actor)}")  # its start limit counts anew
    _order(addresses, "restart", unit(actor))
    return next(found.pid or 0 for found in status(addresses).actors if found.actor == actor)


def stop(addresses: Addresses) -> None:
    """Stop everything; return once it is stopped. Raises EarshotError."""
    # Of the target alone systemctl would not wait for the actors; the other unit is stopped after them.
    _order(addresses, "stop", TARGET, "earshot-prepare.service")


def show_logs(addresses: Addresses, actor: str, *, follow: bool) -> NoReturn:
    """Become `journalctl`: where systemd is the supervisor, the journal has the logs. Raises EarshotError for who may not read it."""
    which = unit(actor) if actor else "earshot*"
    command = ["journalctl", *_scope(addresses), f"--unit={which}", "--lines=100", *["--follow"] * follow]
    if not _scope(addresses) and os.geteuid() != 0:
        raise EarshotError(f"systemd keeps the logs in the journal, which root reads: `sudo {' '.join(command)}`")
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell
    except OSError:
        raise EarshotError(f"the logs are in the journal; there is no journalctl here to show them: {' '.join(command)}") from None


def unit(actor: str) -> str:
    """The unit of an actor."""
    return f"earshot@{actor}.service"


def _launch(addresses: Addresses) -> str:
    with suppress(OSError):  # it is being stopped
        return units_mark(addresses).read_text()
    return ""


def _scope(addresses: Addresses) -> list[str]:
    return [] if addresses.runtime_dir == SYSTEM_RUNTIME_DIR else ["--user"]


def _order(addresses: Addresses, *arguments: str, meant: str = "") -> None:
    """Have something done, however long it takes. Raises EarshotError, for the system's units with what root has to say."""
    try:
        _ask(addresses, *arguments, timeout_s=None)
    except EarshotError as error:
        if _scope(addresses) or os.geteuid() == 0:
            raise
        raise EarshotError(f"{error}; as root: `sudo {meant or ' '.join(['systemctl', *arguments])}`") from None


def _ask(addresses: Addresses, *arguments: str, timeout_s: float | None = ASK_TIMEOUT_S) -> str:
    command = ["systemctl", *_scope(addresses), "--no-ask-password", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False)
    except OSError as error:
        raise EarshotError(f"cannot run systemctl: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise EarshotError(f"systemd does not answer within {ASK_TIMEOUT_S:.0f} s: {' '.join(command)}") from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[0].rstrip(".")
        raise EarshotError(f"systemd does not do it: {said}")
    return done.stdout


def _state(active: str, sub: str) -> str:
    """The launcher's word for it."""
    if sub == "auto-restart":
        return "backing-off"
    return {"activating": "starting", "reloading": "ready", "active": "ready", "deactivating": "stopping", "inactive": "stopped"}.get(
        active, active
    )


def _last_exit(properties: Mapping[str, str]) -> str:
    code, number = int(properties["ExecMainCode"]), int(properties["ExecMainStatus"])
    if not code:
        return ""
    return exit_text(number if code == CLD_EXITED else -number)


def _detail(name: str, state: str, properties: Mapping[str, str]) -> str:
    if state == "failed":
        return "; ".join(_reasons(name, properties))
    return properties["StatusText"] if state in ("ready", "starting") else ""


def _reasons(name: str, properties: Mapping[str, str]) -> Iterator[str]:
    if properties["NRestarts"] != "0" and properties["ExecMainStatus"] != str(EX_CONFIG):
        yield f"given up after {properties['NRestarts']} restarts"
    yield properties["StatusText"] or f"ended with {_last_exit(properties) or properties['Result']}"
    yield f"see `journalctl -u {unit(name)}`"
