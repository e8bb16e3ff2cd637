"""`supervisor logs`: the actors' logs, of a running assistant or of the last one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from bus.addresses import Addresses
from bus.errors import EarshotError

LAST_LINES = 100
LOOK_INTERVAL_S = 0.25


def log_files(addresses: Addresses, actor: str) -> list[Path]:
    """The log of one actor, or (empty) of all. Raises EarshotError when there is none."""
    there = sorted(addresses.logs_dir.glob("*.log"))
    if not there:
        raise EarshotError(f"there are no logs in {addresses.logs_dir}; nothing was started yet with this state directory")
    if not actor:
        return there
    found = [path for path in there if path.stem == actor]
    if not found:
        raise EarshotError(f"there is no log of {actor!r}; there are {', '.join(path.stem for path in there)}")
    return found


def last_lines(path: Path, count: int = LAST_LINES) -> list[str]:
    """The last lines of a log."""
    with path.open(errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, count)]


def follow(files: Callable[[], list[Path]], pause: Callable[[float], None] = time.sleep) -> Iterator[tuple[Path, str]]:
    """Yield what is appended from now on, for ever; a log that was emptied begins anew, and new logs join."""
    places = {path: path.stat().st_size for path in files()}
    while True:
        for path in files():
            yield from ((path, line) for line in _appended(path, places))
        pause(LOOK_INTERVAL_S)


def _appended(path: Path, places: dict[Path, int]) -> Iterator[str]:
    size = path.stat().st_size
    place = places.get(path, 0)
    if size < place:
        place = 0
    if size > place:
        with path.open("rb") as file:
            file.seek(place)
            data = file.read(size - place)
        whole = data.rfind(b"\n") + 1  # the rest is a line that is still being written
        yield from data[:whole].decode(errors="replace").splitlines()
        place += whole
    places[path] = place
