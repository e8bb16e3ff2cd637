"""`supervisor join`: a worker of another machine's assistant, kept alive by a launcher of its own here."""

from __future__ import annotations

import socket
import zlib
from dataclasses import replace
from typing import Final

from bus.errors import EarshotError
from bus.settings import Settings
from supervisor.children import Child, plan
from supervisor.placement import plan_for
from supervisor.start import addresses_of, launch
from supervisor.topology import this_machine

WORKERS: Final = ("whisper",)
"""Actors that need nothing but events and jobs. The others need sound, or this machine's memory."""


def join(settings: Settings, actor: str, remote: str, name: str) -> None:
    """Be a worker of the assistant at `remote` until it is over. Raises EarshotError."""
    if actor not in WORKERS:
        raise EarshotError(f"{actor!r} cannot work from afar; {', '.join(WORKERS)} can")
    here = addresses_of(settings)
    assert replace(here, remote=remote).jobs, "raises for what is wrong with the place or the keys"
    name = name or default_name(actor, socket.gethostname())
    child = worker(settings, actor, name, remote)
    print(f"{name} begins to work for {remote}. `supervisor status` shows how it is; Ctrl+C ends it.", flush=True)
    launch(settings, here, [child])


def default_name(actor: str, host: str) -> str:
    """A name that the other machine's own workers do not have: they are numbered from 1."""
    return f"{actor}-{100 + zlib.crc32(host.encode()) % 900}"


def worker(settings: Settings, actor: str, name: str, remote: str) -> Child:
    """The child, as it would be here, but under that name and connected to over there."""
    children = plan(settings, plan_for(this_machine(), settings.whisper), foreground=False)
    here = next(child for child in children if child.name == f"{actor}-1")
    argv = tuple(name if part == here.name else part for part in here.argv)
    return replace(here, name=name, argv=argv, env={**here.env, "EARSHOT_CONNECT": remote})
