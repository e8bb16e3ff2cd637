"""The jobs on disk: SQLite, one transaction for each step of a turn.

`journal_mode=WAL, synchronous=NORMAL` survives `kill -9` of the dispatcher; `FULL` also survives a power cut, at the cost of a
disk flush for each step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bus.errors import EarshotError, SpoolError
from bus.messages.jobs import Job
from bus.sqlite import transaction

SPOOL_VERSION = 1
WAL_PAGES = 2_000  # 8 MiB: emptying the log stalls the turn in whose middle it happens; `tidy` does it between turns
REMEMBERED_IDS = 20_000  # of finished jobs, so that a late repetition of a submission is not a new job

_SCHEMA = f"""
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL UNIQUE, turn_order INTEGER NOT NULL,
  job BLOB NOT NULL, payload BLOB, attempts INTEGER NOT NULL DEFAULT 0, holder TEXT NOT NULL DEFAULT '',
  parked INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '');
CREATE TABLE finished (number INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL UNIQUE);
PRAGMA user_version = {SPOOL_VERSION};
"""


@dataclass(frozen=True)
class Stored:
    """A job as found in the spool."""

    job: Job
    number: int
    turn_order: int
    attempts: int
    holder: str
    """The worker that had the lease, `name/incarnation`, or empty."""
    parked: bool
    reason: str


class Spool:
    """The open jobs, durable. Used by the dispatcher alone."""

    def __init__(self, path: Path, synchronous: str = "normal") -> None:
        """Open or make the file. Raise SpoolError when it is not ours, is damaged or cannot be written."""
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA secure_delete=ON")  # a finished job holds what was said
            self._db.execute(f"PRAGMA synchronous={synchronous}")
            self._db.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
            self._check_version()
        except sqlite3.Error as error:
            raise self._error(error) from None

    def load(self) -> list[Stored]:
        """All open and parked jobs, oldest first. Raise SpoolError when one cannot be read."""
        query = "SELECT job, number, turn_order, attempts, holder, parked, reason FROM jobs ORDER BY number"
        try:
            rows = self._db.execute(query).fetchall()
            return [
                Stored(msgspec.msgpack.decode(job, type=Job), number, turn_order, attempts, holder, bool(parked), reason)
                for job, number, turn_order, attempts, holder, parked, reason in rows
            ]
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise self._error(error) from None

    def knows(self, job_id: str) -> bool:
        """Whether the job is open, parked or finished."""
        query = "SELECT 1 FROM jobs WHERE job_id = ?1 UNION ALL SELECT 1 FROM finished WHERE job_id = ?1"
        return self._db.execute(query, (job_id,)).fetchone() is not None

    def add(self, job: Job, turn_order: int | None, payload: bytes | None = None) -> tuple[int, int]:
        """Write a new job down; return (its number, its turn's order). Without `turn_order` its turn is new."""
        insert = "INSERT INTO jobs (job_id, turn_order, job, payload) VALUES (?, ?, ?, ?)"
        packed = msgspec.msgpack.encode(job)
        with self.transaction():
            number = self._db.execute(insert, (job.id, turn_order or 0, packed, payload)).lastrowid or 0
            if turn_order is None:
                self._db.execute("UPDATE jobs SET turn_order = number WHERE number = ?", (number,))
        return number, number if turn_order is None else turn_order

    def lease(self, job_id: str, holder: str) -> None:
        """Count an attempt before it begins, so that a job that kills its workers, or us, is given up one day."""
        self._db.execute("UPDATE jobs SET attempts = attempts + 1, holder = ? WHERE job_id = ?", (holder, job_id))

    def put_back(self, job_id: str, reason: str) -> None:
        """A lease ended without a result."""
        self._db.execute("UPDATE jobs SET holder = '', reason = ? WHERE job_id = ?", (reason, job_id))

    def park(self, job_id: str, reason: str) -> None:
        """A job is given up, and kept."""
        self._db.execute("UPDATE jobs SET holder = '', parked = 1, reason = ? WHERE job_id = ?", (reason, job_id))

    def finish(self, job_id: str) -> None:
        """A job is over; its id is remembered."""
        self._db.execute("DELETE FROM jobs WHERE job_id = ?", (job_id,))
        number = self._db.execute("INSERT OR IGNORE INTO finished (job_id) VALUES (?)", (job_id,)).lastrowid or 0
        self._db.execute("DELETE FROM finished WHERE number <= ?", (number - REMEMBERED_IDS,))

    def payload(self, job_id: str) -> bytes | None:
        """The raw bytes that came with a job."""
        row: Sequence[bytes | None] | None = self._db.execute("SELECT payload FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
        return row[0] if row else None

    def tidy(self) -> None:
        """Empty the write-ahead log into the file, where what was deleted is overwritten: finished jobs hold what was said."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def transaction(self) -> AbstractContextManager[None]:
        """All of the block or nothing of it."""
        return transaction(self._db)

    def close(self) -> None:
        self._db.close()

    def _check_version(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == 0 and tables == 0:
            self._db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
        elif version != SPOOL_VERSION:
            raise SpoolError(
                f"{self._path} is not a spool of this version (found {version}, want {SPOOL_VERSION}); move it away and start again"
            )

    def _error(self, error: Exception) -> EarshotError:
        if isinstance(error, sqlite3.OperationalError):  # a full disk, a lock: may pass
            return EarshotError(f"cannot use the spool {self._path}: {error}; see to the state directory and its disk")
        return SpoolError(f"cannot use the spool {self._path}: {error}; if the file is damaged, move it away and start again")


def forget_parked(path: Path, turns: Collection[str] | None) -> int:
    """Wipe the given-up jobs of these turns (None: all) and what was said in them; return how many there were.

    For the user's own `forget`, beside a running dispatcher or without one. Raise sqlite3.Error when the file cannot be used.
    """
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete=ON")
        parked = [row[0] for row in db.execute("SELECT job_id FROM jobs WHERE parked")]
        unwanted = [job_id for job_id in parked if turns is None or job_id.split("/")[0] in turns]
        with transaction(db):
            db.executemany("DELETE FROM jobs WHERE job_id = ?", [(job_id,) for job_id in unwanted])
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return len(unwanted)
