"""What the memory store holds, asked of the memory actor's own program: nothing else reads its file."""

from __future__ import annotations

import subprocess

import msgspec

from bus.addresses import Addresses
from bus.errors import EarshotError
from bus.messages.turn import TurnRecord
from supervisor.modules import command, environ

TRIES = 3


def remembered(addresses: Addresses, since_ns: int, stream: str = "") -> list[TurnRecord]:
    """The turns since a wall-clock time, oldest first, of one stream or (empty) of all. Raises EarshotError."""
    options = ["--since", str(since_ns), *(["--stream", stream] if stream else [])]
    for _ in range(TRIES):
        done = subprocess.run(
            command("actors.memory", "export", "--json", *options),
            env={**environ(), **addresses.environ, "EARSHOT_CONFIG": str(addresses.config)},
            capture_output=True,
            check=False,
        )
        if done.returncode >= 0:  # else somebody killed it; it only reads
            break
    if done.returncode != 0:
        raise EarshotError(f"cannot read the memory store: {done.stderr.decode(errors='replace').strip()}")
    return [msgspec.json.decode(line, type=TurnRecord) for line in done.stdout.splitlines()]
