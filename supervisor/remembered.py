"""What the memory store holds, asked of the memory actor's own program: nothing else reads its file.

Turns are chosen by name or number and not by time: the wall clock may be set while we wait for them.
"""

from __future__ import annotations

import subprocess

import msgspec

from bus.addresses import Addresses
from bus.errors import EarshotError
from bus.messages.turn import TurnRecord
from supervisor.modules import command, environ

TRIES = 3


def remembered(addresses: Addresses, *, turns: str = "", after: int = 0) -> list[TurnRecord]:
    """The turns whose names begin with `turns` and that were kept after number `after`, in the order in which they were over.

    Raises EarshotError.
    """
    return _records(_ask(addresses, "export", "--turns", turns, "--after", str(after)))


def last_remembered(addresses: Addresses, last: int, stream: str = "", turn: str = "") -> list[TurnRecord]:
    """The last turns, oldest first, of one stream, or the one turn, or (empty) of all. Raises EarshotError."""
    return _records(_ask(addresses, "list", "--json", "--last", str(last), "--stream", stream, "--turn", turn))


def newest_number(addresses: Addresses) -> int | None:
    """The number of the turn that was kept last, 0 before the first; None when the store cannot be read."""
    try:
        return int(_ask(addresses, "mark"))
    except EarshotError:
        return None


def _records(lines: bytes) -> list[TurnRecord]:
    return [msgspec.json.decode(line, type=TurnRecord) for line in lines.splitlines()]


def _ask(addresses: Addresses, *arguments: str) -> bytes:
    for _ in range(TRIES):
        done = subprocess.run(
            command("actors.memory", *arguments),
            env={**environ(), **addresses.environ, "EARSHOT_CONFIG": str(addresses.config)},
            capture_output=True,
            check=False,
        )
        if done.returncode >= 0:  # else somebody killed it; it only reads
            break
    if done.returncode != 0:
        raise EarshotError(f"cannot read the memory store: {done.stderr.decode(errors='replace').strip().removeprefix('Error: ')}")
    return done.stdout
