"""What the two users of SQLite (the spool, the memory store) share: transactions, and what an error means for the user."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LITTLE_ROOM_BYTES = 256 << 10
"""SQLite calls some failures on a full disk an I/O error. With less room than this, it was the full disk."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_PASSING = (
    *_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing of it. A block inside a block is part of the outer one. Needs `isolation_level=None`."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk makes SQLite roll back by itself
            db.execute("ROLLBACK")
        raise


def has_room(directory: Path) -> bool:
    """Whether something can be written there. Raises OSError when there is no such directory."""
    disk = os.statvfs(directory)
    return os.access(directory, os.W_OK) and disk.f_bavail * disk.f_frsize >= LITTLE_ROOM_BYTES


@dataclass(frozen=True, slots=True)
class Fault:
    """What an error of SQLite means."""

    text: str
    """What is wrong and what to do about it, without the file's name in front."""
    passes: bool
    """It ends by itself once its cause goes: the disk, a lock, a read-only mount."""
    damaged: bool
    """What is in the file is not, or no longer, a database."""


def fault_of(error: sqlite3.Error, path: Path) -> Fault:
    """Read an error that was raised for the database at `path`."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # the rest only says where in SQLite it came up
    if code in _DAMAGED:
        return Fault(f"{error}: it is damaged, or no file of ours", passes=False, damaged=True)
    if path.is_dir():
        return Fault("it is a directory; move it away", passes=False, damaged=False)
    with suppress(OSError):
        disk = os.statvfs(path.parent)
        if code == sqlite3.SQLITE_FULL or (code in _PASSING and disk.f_bavail * disk.f_frsize < LITTLE_ROOM_BYTES):
            return Fault(f"no space is left in {path.parent}; make room there", passes=True, damaged=False)
        if code in _PASSING and disk.f_flag & os.ST_RDONLY:
            return Fault(f"{path.parent} is read-only; make it writable", passes=True, damaged=False)
    if code in _LOCKED:
        return Fault("another program keeps it locked; end that program", passes=True, damaged=False)
    if code in _PASSING:
        return Fault(f"{error}; see to {path.parent} and its disk", passes=True, damaged=False)
    return Fault(f"{error}", passes=False, damaged=False)


def mend(path: Path, rebuild: Callable[[Path], None]) -> Path:
    """Put a new database in the place of a damaged one, which is kept under another name; return that name.

    `rebuild` makes the new file at the path that it gets, of what it can still read in the old one. Killed at any point, the old
    one is in its place or the new one is, whole. Raises sqlite3.Error and OSError.
    """
    fresh = path.with_name(f"{path.name}.mended")
    for suffix in ("-wal", "-shm", ""):
        Path(f"{fresh}{suffix}").unlink(missing_ok=True)
    rebuild(fresh)
    number = 1  # and no date, which a wrong clock would make twice: what was set aside is never overwritten
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    shutil.copy2(path, aside)
    with suppress(FileNotFoundError):
        Path(f"{path}-wal").rename(f"{aside}-wal")
    Path(f"{path}-shm").unlink(missing_ok=True)
    fresh.replace(path)
    return aside


def set_aside_files(path: Path) -> list[Path]:
    """All that was ever set aside of the database at `path`, with the logs."""
    return sorted(path.parent.glob(f"{path.name}.damaged-*"))


def readable_rows(path: Path, table: str, columns: str, key: str) -> list[tuple[Any, ...]]:
    """The rows of a damaged database that can still be read, by rising `key` (the first of `columns`).

    They are read from both ends, so that what is lost is what lies at the damage. An empty list when nothing can be read.
    """
    found: dict[Any, tuple[Any, ...]] = {}
    for order in ("ASC", "DESC"):
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as db:
            for row in db.execute(f"SELECT {columns} FROM {table} ORDER BY {key} {order}"):  # noqa: S608 - the names are ours
                found.setdefault(row[0], row)
    return [found[number] for number in sorted(found)]
