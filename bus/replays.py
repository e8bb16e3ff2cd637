"""Where a replay keeps what it hears: below the state directory of the assistant that it was called for.

A replay that was killed leaves sound behind; the next one, and `supervisor memory forget`, remove it.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bus.addresses import Addresses, Lock, is_locked

WIPE_BYTES: Final = 1 << 20
"""So much at a time: a long recording does not fit into the memory."""


@contextmanager
def own_place(state_dir: Path) -> Iterator[Addresses]:
    """Directories for an assistant of its own, for as long as the context lasts. Raise OSError when they cannot be made.

    Only its sockets are elsewhere, because their names must be short: no sound and no words go into the runtime directory.
    """
    base = _base(state_dir)
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    forget_dead_replays(state_dir)
    place = base / secrets.token_hex(4)
    lock = Lock(place.with_suffix(".lock"), "another replay is there")  # first: what has no lock is removed by others
    try:
        place.mkdir(mode=0o700)
        with tempfile.TemporaryDirectory(prefix="earshot-") as runtime:
            yield Addresses(Path(runtime), place)
    finally:
        _remove(place)
        lock.remove()


def forget_dead_replays(state_dir: Path) -> None:
    """Overwrite and remove what replays have left that were killed."""
    for lock in _base(state_dir).glob("*.lock"):
        if not is_locked(lock):
            _remove(lock.with_suffix(""))
            lock.unlink(missing_ok=True)


def wipe(path: Path) -> None:
    """Overwrite and remove a file, if it is still there. Raise OSError when it cannot be removed."""
    with suppress(FileNotFoundError):
        with path.open("r+b") as file:
            left = path.stat().st_size
            while left > 0:
                left -= file.write(bytes(min(left, WIPE_BYTES)))
        path.unlink()


def _base(state_dir: Path) -> Path:
    return state_dir / "replays"


def _remove(place: Path) -> None:
    for path in place.rglob("*"):
        if path.is_file():
            with suppress(OSError):  # rmtree tries once more
                wipe(path)
    shutil.rmtree(place, ignore_errors=True)
