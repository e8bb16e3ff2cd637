"""Commands to a running assistant, as the command line gives them: asked, and waited for."""

from __future__ import annotations

import time
from typing import Final

from bus.addresses import Addresses
from bus.errors import EarshotError
from bus.messages.control import ControlDone, ControlRestart, ControlState, ControlStatus, ControlStop
from supervisor.control import ANSWER_TIMEOUT_S, ask
from supervisor.instance import is_running, require_running
from supervisor.systemd import manager

LOOK_INTERVAL_S: Final = 0.02
LONGEST_STOP_S: Final = 90.0
"""More than the longest `launcher.stop_timeout_s`."""


def status(addresses: Addresses, timeout_s: float = ANSWER_TIMEOUT_S) -> ControlState:
    """Everybody's state. Raises NoInstance."""
    if manager.supervises(addresses):
        return manager.status(addresses)
    return ask(addresses, ControlStatus(), ControlState, timeout_s)


def stop(addresses: Addresses) -> None:
    """Stop the assistant and return once its lock is free. Raises NoInstance."""
    if manager.supervises(addresses):
        manager.stop(addresses)
        return
    ask(addresses, ControlStop(), ControlDone)
    end_s = time.monotonic() + LONGEST_STOP_S
    while is_running(addresses):
        if time.monotonic() > end_s:
            raise EarshotError(f"the assistant has not ended within {LONGEST_STOP_S:.0f} s; see `supervisor logs launcher`")
        time.sleep(LOOK_INTERVAL_S)


def wait_while_stopping(addresses: Addresses) -> None:
    """Return when no assistant runs there, or one that is not on its way down."""
    end_s = time.monotonic() + LONGEST_STOP_S
    while is_running(addresses) and time.monotonic() < end_s:
        try:
            actors = status(addresses).actors
        except EarshotError:  # it has just ended, or it hangs: its lock says which
            return
        if not any(actor.state == "stopping" for actor in actors) and any(actor.pid for actor in actors):
            return
        time.sleep(LOOK_INTERVAL_S)


def restart(addresses: Addresses, actor: str) -> int:
    """Restart an actor; return its new process id once it is ready. Raises EarshotError when it does not become so."""
    if manager.supervises(addresses):
        return manager.restart(addresses, actor)
    before = _incarnation(status(addresses), actor)
    ask(addresses, ControlRestart(actor=actor), ControlDone)
    while True:
        for found in status(addresses).actors:
            if found.actor != actor or found.incarnation == before:
                continue
            if found.state == "ready" and found.pid is not None:
                return found.pid
            if found.state in ("failed", "stopped"):
                raise EarshotError(f"{actor} {found.state}: {found.detail or found.last_exit}")
        require_running(addresses)
        time.sleep(LOOK_INTERVAL_S * 5)


def _incarnation(state: ControlState, actor: str) -> str:
    return next((found.incarnation for found in state.actors if found.actor == actor), "")
