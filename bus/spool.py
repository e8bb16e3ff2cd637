"""The jobs on disk: SQLite, one transaction for each step of a turn.

`journal_mode=WAL, synchronous=NORMAL` survives `kill -9` of the dispatcher; `FULL` also survives a power cut, at the cost of a
disk flush for each step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bus.errors import EarshotError, SpoolDamaged, SpoolError, StorageTrouble
from bus.messages.jobs import Job
from bus.sqlite import fault_of, mend, readable_rows, set_aside_files, transaction

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
_TABLES = {"jobs": "number, job_id, turn_order, job, payload, attempts, holder, parked, reason", "finished": "number, job_id"}
_JOB = 3  # where in a row of `jobs` the job itself stands
BUSY_TIMEOUT_S = 0.25  # nobody has a right to it but us, and several calls may have to wait in one round of the main loop


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
        """Open or make the file. Raise SpoolError when it is not ours, SpoolDamaged when it is torn, StorageTrouble when the disk or
        another program does not let us."""
        self.path = path
        try:
            self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        except sqlite3.Error as error:
            raise self._error(error) from None
        try:
            self._make_ready(synchronous)
        except sqlite3.Error as error:
            self._db.close()
            raise self._error(error) from None
        except SpoolError:
            self._db.close()
            raise

    def _make_ready(self, synchronous: str) -> None:
        with suppress(OSError):  # a read-only disk is told by what follows
            self.path.chmod(0o600)
        self._check_version()  # before anything is changed: it may be another program's
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA secure_delete=ON")  # a finished job holds what was said
        self._db.execute(f"PRAGMA synchronous={synchronous}")
        self._db.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
        if (found := self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise self._damaged(found)
        # Opened on a read-only disk, a connection would stay read-only after the disk is not. So one that cannot write is none.
        self._db.execute(f"PRAGMA user_version = {SPOOL_VERSION}")

    def load(self) -> list[Stored]:
        """All open and parked jobs, oldest first. Raise SpoolDamaged when one cannot be read."""
        query = "SELECT job, number, turn_order, attempts, holder, parked, reason FROM jobs ORDER BY number"
        try:
            rows = self._db.execute(query).fetchall()
            return [
                Stored(msgspec.msgpack.decode(job, type=Job), number, turn_order, attempts, holder, bool(parked), reason)
                for job, number, turn_order, attempts, holder, parked, reason in rows
            ]
        except msgspec.MsgspecError as error:
            raise self._damaged(error) from None
        except sqlite3.Error as error:
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

    def restore(self, table: str, row: Sequence[Any]) -> None:
        """Take over a row of a damaged spool, unless it is damaged itself."""
        if table == "jobs":
            try:
                msgspec.msgpack.decode(row[_JOB], type=Job)
            except (msgspec.MsgspecError, TypeError):
                return
        places = ", ".join("?" * len(row))
        self._db.execute(f"INSERT OR IGNORE INTO {table} ({_TABLES[table]}) VALUES ({places})", row)  # noqa: S608 - the names are ours

    def close(self) -> None:
        self._db.close()

    def _check_version(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == 0 and tables == 0:
            self._db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
        elif version != SPOOL_VERSION:
            raise SpoolError(
                f"{self.path} is not a spool of this version (found {version}, want {SPOOL_VERSION}); "
                f"`mv {self.path} {self.path}.old` lets the next start make a new one"
            )

    def _error(self, error: sqlite3.Error) -> EarshotError:
        fault = fault_of(error, self.path)
        if fault.damaged:
            return self._damaged(error)
        kind = StorageTrouble if fault.passes else SpoolError
        advice = "" if fault.passes else f"; `mv {self.path} {self.path}.old` lets the next start make a new one"
        return kind(f"cannot use the spool {self.path}: {fault.text}{advice}")

    def _damaged(self, why: object) -> SpoolDamaged:
        return SpoolDamaged(f"the spool {self.path} is damaged ({' '.join(str(why).split())})")


def open_spool(path: Path, synchronous: str = "normal") -> tuple[Spool, str]:
    """Open or make the spool. A damaged one is mended first: what can be read goes into a new file, the damaged one is kept beside it.

    Return it, and what the user is to know of the mending, or nothing. Raise SpoolError for a file that is not ours,
    StorageTrouble while the disk or another program does not let us.
    """
    try:
        return _sound(Spool(path, synchronous)), ""
    except SpoolDamaged as damage:
        found = damage
    saved: list[Stored] = []
    try:
        aside = mend(path, lambda fresh: saved.extend(_rebuild(path, fresh)))
    except sqlite3.Error as error:
        raise StorageTrouble(f"{found}, and it cannot be mended: {fault_of(error, path).text}") from None
    except OSError as error:
        raise StorageTrouble(f"{found}, and it cannot be mended: {error.strerror}; see to {path.parent}") from None
    turns = len({stored.job.turn for stored in saved})
    note = f"{found}: {turns} open turn{'' if turns == 1 else 's'} could be read and {'goes' if turns == 1 else 'go'} on"
    return Spool(path, synchronous), f"{note}; the damaged file is kept as {aside}, delete it when you do not need it"


def _sound(spool: Spool) -> Spool:
    """The spool, when each of its jobs can be read. Raises SpoolDamaged."""
    try:
        spool.load()
    except SpoolDamaged:
        spool.close()
        raise
    return spool


def _rebuild(damaged: Path, fresh: Path) -> list[Stored]:
    """Make a new spool of what can be read of a damaged one; return its jobs."""
    with closing(Spool(fresh)) as spool:
        with spool.transaction():
            for table, columns in _TABLES.items():
                for row in readable_rows(damaged, table, columns, "number"):
                    spool.restore(table, row)
        return spool.load()


def forget_parked(path: Path, turns: Collection[str] | None) -> int:
    """Wipe the given-up jobs of these turns (None: all) and what was said in them; return how many there were.

    For the user's own `forget`, beside a running dispatcher or without one. Raise sqlite3.Error when the file cannot be used.
    """
    if turns is None:
        for damaged in set_aside_files(path):
            damaged.unlink(missing_ok=True)
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
