"""Given-up jobs in the spool's file, for the user's own commands: beside a running dispatcher, or without one.

The dispatcher keeps none of them in memory, so what is done to the file is done.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from bus.errors import EarshotError
from bus.spool import SPOOL_VERSION, Stored, stored_jobs
from bus.sqlite import fault_of, set_aside_files, transaction


def read_parked(path: Path) -> list[Stored]:
    """The given-up jobs, oldest first; none where there is no spool. Raise EarshotError when the file cannot be used."""
    if not path.exists():
        return []
    with _open(path) as db:
        return _parked(db)


def drop_parked(path: Path, unwanted: Callable[[Stored], bool], *, set_aside: bool = False) -> int:
    """Remove the given-up jobs that are unwanted and wipe what was said in them; return how many they were. With `set_aside` the
    damaged spools that were ever kept aside go too. Raise EarshotError when the file cannot be used."""
    if set_aside:
        for damaged in set_aside_files(path):
            damaged.unlink(missing_ok=True)
    if not path.exists():
        return 0
    with _open(path) as db:
        job_ids = [(stored.job.id,) for stored in _parked(db) if unwanted(stored)]
        with transaction(db):
            db.executemany("INSERT OR IGNORE INTO finished (job_id) VALUES (?)", job_ids)
            db.executemany("DELETE FROM jobs WHERE job_id = ?", job_ids)
            db.execute("DELETE FROM payloads WHERE number NOT IN (SELECT number FROM jobs)")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return len(job_ids)


def _parked(db: sqlite3.Connection) -> list[Stored]:
    return stored_jobs(db, "WHERE parked_ns IS NOT NULL ORDER BY number")


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)) as db:
            db.execute("PRAGMA secure_delete=ON")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version != SPOOL_VERSION:
                raise EarshotError(f"{path} is not a spool of this version (found {version}, want {SPOOL_VERSION}); move it away")
            yield db
    except sqlite3.Error as error:
        raise EarshotError(f"cannot use the spool {path}: {fault_of(error, path).text}") from None
    except msgspec.MsgspecError as error:
        raise EarshotError(f"cannot use the spool {path}: a job in it cannot be read ({error})") from None
