"""The jobs on disk: SQLite, one transaction for each step of a turn.

`journal_mode=WAL, synchronous=NORMAL` survives `kill -9` of the dispatcher; `FULL` also survives a power cut, at the cost of a
disk flush for each step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bus.errors import EarshotError, SpoolDamaged, SpoolError, StorageTrouble
from bus.limits import MAX_SHOWN_REASON
from bus.messages.jobs import Job, JobInfo
from bus.moments import Moment
from bus.sqlite import fault_of, mend, readable_rows, transaction

SPOOL_VERSION = 2
WAL_PAGES = 2_000  # 8 MiB: emptying the log stalls the turn in whose middle it happens; `tidy` does it between turns
CACHE_KIB = 512  # the kernel keeps the rest; with SQLite's 2 MiB this process would grow for thousands of turns
REMEMBERED_IDS = 20_000  # of finished jobs, so that a late repetition of a submission is not a new job

# The sound has a table of its own: to overwrite it takes longer than all the rest of a step, so that is done after the step (`sweep`).
_SCHEMA = f"""
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL UNIQUE, turn_order INTEGER NOT NULL,
  job BLOB NOT NULL, attempts INTEGER NOT NULL, holders TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
  parked_ns INTEGER, boot TEXT NOT NULL, boot_ns INTEGER NOT NULL, wall_ns INTEGER NOT NULL);
CREATE INDEX parked ON jobs (number) WHERE parked_ns IS NOT NULL;
CREATE TABLE payloads (number INTEGER PRIMARY KEY, payload BLOB NOT NULL);
CREATE TABLE finished (number INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL UNIQUE);
CREATE TABLE runs (run TEXT NOT NULL);
PRAGMA user_version = {SPOOL_VERSION};
"""
_TABLES = {
    "jobs": "number, job_id, turn_order, job, attempts, holders, reason, parked_ns, boot, boot_ns, wall_ns",
    "payloads": "number, payload",
    "finished": "number, job_id",
    "runs": "run",
}
_JOB, _HOLDERS = 3, 5  # where in a row of `jobs` they stand
BUSY_TIMEOUT_S = 0.25  # nobody has a right to it but us, and several calls may have to wait in one round of the main loop


@dataclass(frozen=True)
class Stored:
    """A job as found in the spool."""

    job: Job
    number: int
    turn_order: int
    attempts: int
    holders: dict[str, int]
    """The workers that had a lease, `name/incarnation`, each with its attempt."""
    reason: str
    parked_ns: int | None
    """When it was given up, wall time; None: it is open."""
    born: Moment
    """When its turn was submitted."""

    def info(self) -> JobInfo:
        """What is told of it when it is parked."""
        job = self.job
        return JobInfo(
            job_id=job.id,
            turn=job.turn,
            stream=job.stream,
            stage=job.stage,
            state="parked",
            attempts=self.attempts,
            reason=self.reason[:MAX_SHOWN_REASON],
        )


class Spool:
    """The open jobs and the parked ones, durable. Used by the dispatcher alone."""

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
        self._db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        if (found := self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise self._damaged(found)
        # Opened on a read-only disk, a connection would stay read-only after the disk is not. So one that cannot write is none.
        self._db.execute(f"PRAGMA user_version = {SPOOL_VERSION}")

    def load(self) -> list[Stored]:
        """All open jobs, oldest first. Raise SpoolDamaged when one cannot be read, parked or not."""
        try:
            return [stored for stored in stored_jobs(self._db, "ORDER BY number") if stored.parked_ns is None]
        except msgspec.MsgspecError as error:
            raise self._damaged(error) from None
        except sqlite3.Error as error:
            raise self._error(error) from None

    def parked(self) -> list[Stored]:
        """The jobs that were given up, oldest first."""
        return stored_jobs(self._db, "WHERE parked_ns IS NOT NULL ORDER BY number")

    def knows(self, job_id: str) -> bool:
        """Whether the job is open, parked or finished."""
        query = "SELECT 1 FROM jobs WHERE job_id = ?1 UNION ALL SELECT 1 FROM finished WHERE job_id = ?1"
        return self._db.execute(query, (job_id,)).fetchone() is not None

    def newest_revision(self, turn: str) -> int:
        """The highest revision of any job of a turn; -1 when none is known."""
        return max(self._revisions(turn), default=-1)

    def first_revision(self, turn: str, stage: str) -> int:
        """The lowest revision of a stage of a turn; -1 when none is known."""
        return min(self._revisions(f"{turn}/{stage}"), default=-1)

    def _revisions(self, what: str) -> Iterator[int]:
        query = "SELECT job_id FROM {} WHERE job_id > ?1 || '/' AND job_id < ?1 || '0'"  # '0' comes after '/'
        for table in ("jobs", "finished"):
            for (job_id,) in self._db.execute(query.format(table), (what,)):
                yield int(job_id.rpartition("/")[2])

    def last_run(self) -> str:
        """Which run of the assistant used the spool last; empty when none did."""
        row = self._db.execute("SELECT run FROM runs").fetchone()
        return row[0] if row else ""

    def begin_run(self, run: str) -> None:
        """Note which run of the assistant uses the spool."""
        if self.last_run() != run:
            self._db.execute("DELETE FROM runs")
            self._db.execute("INSERT INTO runs VALUES (?)", (run,))

    def add(
        self, job: Job, turn_order: int | None, payload: bytes | None = None, *, born: Moment, holders: Mapping[str, int] | None = None
    ) -> tuple[int, int]:
        """Write a new job down; return (its number, its turn's order). Without `turn_order` its turn is new. With `holders` it is in
        their hands at once, as after `lease`."""
        held = holders or {}
        values = (job.id, turn_order or 0, msgspec.msgpack.encode(job), max(held.values(), default=0), _holders(held), *born)
        insert = "INSERT INTO jobs (job_id, turn_order, job, attempts, holders, boot, boot_ns, wall_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        with self.transaction():
            number = self._db.execute(insert, values).lastrowid or 0
            if payload is not None:
                self._db.execute("INSERT OR REPLACE INTO payloads VALUES (?, ?)", (number, payload))
            if turn_order is None:
                self._db.execute("UPDATE jobs SET turn_order = number WHERE number = ?", (number,))
        return number, number if turn_order is None else turn_order

    def lease(self, job: Job, holders: Mapping[str, int]) -> None:
        """Count an attempt before it begins, so that a job that kills its workers, or us, is given up one day. The job's history may
        have become longer."""
        update = "UPDATE jobs SET attempts = attempts + 1, holders = ?, job = ? WHERE job_id = ?"
        self._db.execute(update, (_holders(holders), msgspec.msgpack.encode(job), job.id))

    def release(self, job: Job, holders: Mapping[str, int], reason: str) -> None:
        """A lease ended without a result, which the job's history tells; `holders` have the job still."""
        update = "UPDATE jobs SET holders = ?, reason = ?, job = ? WHERE job_id = ?"
        self._db.execute(update, (_holders(holders), reason, msgspec.msgpack.encode(job), job.id))

    def take_back(self, job_id: str, holders: Mapping[str, int]) -> None:
        """A lease never reached its worker: it was no attempt."""
        self._db.execute("UPDATE jobs SET attempts = attempts - 1, holders = ? WHERE job_id = ?", (_holders(holders), job_id))

    def park(self, job_id: str, reason: str, wall_ns: int) -> None:
        """A job is given up, and kept."""
        self._db.execute("UPDATE jobs SET holders = '{}', parked_ns = ?, reason = ? WHERE job_id = ?", (wall_ns, reason, job_id))

    def finish(self, job_id: str) -> None:
        """A job is over; its id is remembered. Its sound stays until `sweep`."""
        self._db.execute("DELETE FROM jobs WHERE job_id = ?", (job_id,))
        number = self._db.execute("INSERT OR IGNORE INTO finished (job_id) VALUES (?)", (job_id,)).lastrowid or 0
        self._db.execute("DELETE FROM finished WHERE number <= ?", (number - REMEMBERED_IDS,))

    def payload(self, job_id: str) -> bytes | None:
        """The raw bytes that came with a job."""
        query = "SELECT payload FROM payloads JOIN jobs USING (number) WHERE job_id = ?"
        row: Sequence[bytes] | None = self._db.execute(query, (job_id,)).fetchone()
        return row[0] if row else None

    def sweep(self) -> None:
        """Overwrite the sound of jobs that are over."""
        self._db.execute("DELETE FROM payloads WHERE number NOT IN (SELECT number FROM jobs)")

    def tidy(self) -> None:
        """Empty the write-ahead log into the file, where what was deleted is overwritten: finished jobs hold what was said."""
        self.sweep()
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def transaction(self) -> AbstractContextManager[None]:
        """All of the block or nothing of it."""
        return transaction(self._db)

    def restore(self, table: str, row: Sequence[Any]) -> None:
        """Take over a row of a damaged spool, unless it is damaged itself."""
        if table == "jobs":
            try:
                msgspec.msgpack.decode(row[_JOB], type=Job)
                msgspec.json.decode(row[_HOLDERS], type=dict[str, int])
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
                for row in readable_rows(damaged, table, columns, columns.partition(",")[0]):
                    spool.restore(table, row)
        return spool.load()


def stored_jobs(db: sqlite3.Connection, where: str) -> list[Stored]:
    """The jobs that a condition chooses. Raise sqlite3.Error, and msgspec.MsgspecError when one cannot be read."""
    columns = "job, holders, number, turn_order, attempts, reason, parked_ns, boot, boot_ns, wall_ns"
    found = []
    for job, holders, number, turn_order, attempts, reason, parked_ns, *born in db.execute(f"SELECT {columns} FROM jobs {where}"):  # noqa: S608 - the parts are ours
        held = msgspec.json.decode(holders, type=dict[str, int])
        decoded = msgspec.msgpack.decode(job, type=Job)
        found.append(Stored(decoded, number, turn_order, attempts, held, reason, parked_ns, Moment(*born)))
    return found


def _holders(holders: Mapping[str, int]) -> str:
    return msgspec.json.encode(holders).decode()
