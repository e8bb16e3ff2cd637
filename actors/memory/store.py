"""The turns on disk: one SQLite file, private to its user.

`journal_mode=WAL, synchronous=NORMAL`: a turn is there whole or not at all, whatever is killed; readers never wait for the writer,
so the command line looks and forgets while the assistant runs. Nothing is cached, so what is forgotten is gone at once.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from actors.memory.context import PastRound, window_start
from bus.addresses import Addresses
from bus.errors import EarshotError, SetupError, StorageTrouble
from bus.messages.turn import PastAttempt, Round, TurnRecord
from bus.settings import MemorySettings
from bus.sqlite import fault_of, has_room, mend, readable_rows, transaction

APPLICATION_ID = 0x45617273  # "Ears": tells our files from other programs' SQLite files
SCHEMA_VERSION = 2
BUSY_TIMEOUT_S = 2.0  # shorter than the main loop may take over one call
CACHE_KIB = 512  # the kernel keeps the rest; with SQLite's 2 MiB this process would grow for thousands of turns
DEFAULT_NAME = "memory.sqlite3"
GIVEN_UP = ("failed", "unanswered")
_HEAD_BYTES = 72

_SCHEMA = (
    """CREATE TABLE turns (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  turn TEXT NOT NULL UNIQUE, stream TEXT NOT NULL, role TEXT NOT NULL, state TEXT NOT NULL,
  transcript TEXT NOT NULL, reply TEXT NOT NULL, wall_ns INTEGER NOT NULL, timings_ms TEXT NOT NULL, detail TEXT NOT NULL,
  attempts TEXT NOT NULL, round INTEGER, tokens INTEGER NOT NULL)""",
    "CREATE UNIQUE INDEX rounds ON turns (stream, round) WHERE round IS NOT NULL",
    "CREATE INDEX times ON turns (wall_ns)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_WORDS = "CREATE VIRTUAL TABLE words USING fts5 (transcript, reply, content='turns', content_rowid='id');"
_CAN_INDEX = "SELECT sqlite_compileoption_used('ENABLE_FTS5')"
_RECORD = "turn, stream, role, state, transcript, reply, wall_ns, timings_ms, detail, attempts"
_ROW = f"id, {_RECORD}, round, tokens"
_FIRST_RECORD, _FIRST_ROW = (columns.replace("attempts", "'[]'") for columns in (_RECORD, _ROW))  # in a file of format 1
_FROM_FORMAT_1 = (
    "DROP INDEX rounds",
    "DROP INDEX times",
    "ALTER TABLE turns RENAME TO first_turns",
    *_SCHEMA,
    f"INSERT INTO turns ({_ROW}) SELECT {_FIRST_ROW} FROM first_turns ORDER BY id",  # noqa: S608 - the parts are ours
    "DROP TABLE first_turns",
)


def database_path(settings: MemorySettings, addresses: Addresses) -> Path:
    """Where the turns are kept. A relative `memory.database` is meant from the state directory."""
    return addresses.state_dir / Path(settings.database or DEFAULT_NAME).expanduser()


class StoreDamaged(SetupError):
    """The file is ours, and torn. `open_store` mends it."""


class Store:
    """The turns that are over. Every method may raise sqlite3.Error when the disk is full or the file is locked for too long."""

    def __init__(self, path: Path, *, create: bool = True, read_only: bool = False) -> None:
        """Open the file, or make it. With `read_only` nothing is written, so it may lie where nothing can be.

        Raise SetupError when it is not ours or is newer than we are, StoreDamaged when it is ours and torn, StorageTrouble when the
        disk or another program does not let us.
        """
        self.path = path
        self._record = _RECORD
        try:
            if create:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with suppress(FileExistsError):
                    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            mode = "ro" if read_only else "rw"
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._has_words = self._ready(read_only)
        except sqlite3.Error as error:
            raise self._error(error) from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
                raise StorageTrouble(f"cannot use {path}: {error.strerror}; see to {path.parent}") from None
            raise SetupError(f"cannot use {path}: {error.strerror}; set memory.database to a file that can be written") from None

    def close(self) -> None:
        self._db.close()

    # -- the course of a turn -------------------------------------------------------------------------------------

    def remember(self, record: TurnRecord, tokens: int) -> TurnRecord:
        """Keep a turn; return it as it is kept. A turn that is kept already stays as it was, but that an answer takes the place of a
        failure: what was given up may have been tried again. The order in which the two come does not matter. An answer that was
        interrupted before any of it was heard is no round of the conversation."""
        is_round = record.state == "answered" and bool(record.reply)
        timings, attempts = (msgspec.json.encode(value).decode() for value in (record.timings_ms, record.attempts))
        row = (*msgspec.structs.astuple(record)[:7], timings, record.detail, attempts)
        number = "(SELECT coalesce(max(round) + 1, 0) FROM turns WHERE stream = ?2)" if is_round else "NULL"
        values = f"VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, {number}, ?11)"
        insert = f"INSERT INTO turns ({_RECORD}, round, tokens) {values} ON CONFLICT (turn) DO NOTHING"
        with transaction(self._db):
            if record.state not in GIVEN_UP:
                self._make_room(record.turn)
            cursor = self._db.execute(insert, (*row, tokens))
            if cursor.rowcount and self._has_words:
                words = "INSERT INTO words (rowid, transcript, reply) VALUES (?, ?, ?)"
                self._db.execute(words, (cursor.lastrowid, record.transcript, record.reply))
        return next(self._records("WHERE turn = ?", (record.turn,)))

    def _make_room(self, turn: str) -> None:
        """Remove a turn that is kept as given up."""
        query = "SELECT id, transcript, reply FROM turns WHERE turn = ? AND state IN (?, ?)"
        for row in self._db.execute(query, (turn, *GIVEN_UP)).fetchall():
            if self._has_words:
                self._db.execute("INSERT INTO words (words, rowid, transcript, reply) VALUES ('delete', ?, ?, ?)", row)
            self._db.execute("DELETE FROM turns WHERE id = ?", row[:1])

    def window(self, stream: str, rounds: int, block: int) -> list[PastRound]:
        """The newest rounds of a stream, oldest first, as many as `context.window_start` says."""
        newest = self._db.execute("SELECT max(round) FROM turns WHERE stream = ? AND round IS NOT NULL", (stream,)).fetchone()[0]
        if newest is None:
            return []
        start = window_start(newest + 1, rounds, block)
        query = "SELECT round, tokens, transcript, reply FROM turns WHERE stream = ? AND round >= ? ORDER BY round"
        rows = self._db.execute(query, (stream, start))
        return [PastRound(number, tokens, Round(user=user, assistant=assistant)) for number, tokens, user, assistant in rows]

    def last_turn(self, stream: str) -> TurnRecord | None:
        """The last turn of a stream in which something was said or done, not a cough or what was too old to be answered."""
        where = "WHERE stream = ? AND (reply != '' OR state = 'handled') ORDER BY id DESC LIMIT 1"
        return next(self._records(where, (stream,)), None)

    def last_answer(self, stream: str) -> str:
        """The last answer of a stream, or nothing."""
        query = "SELECT reply FROM turns WHERE stream = ? AND round IS NOT NULL ORDER BY round DESC LIMIT 1"
        found = self._db.execute(query, (stream,)).fetchone()
        return str(found[0]) if found else ""

    def set_tokens(self, turn: str, tokens: int) -> None:
        """Put a count in the place of an estimate."""
        self._db.execute("UPDATE turns SET tokens = ? WHERE turn = ?", (tokens, turn))

    # -- looking back ---------------------------------------------------------------------------------------------

    def newest(self, limit: int, stream: str = "", turn: str = "") -> list[TurnRecord]:
        """The last turns, oldest first: of one stream, or that one turn, or (empty) of all."""
        where = "WHERE ?2 IN ('', stream) AND ?3 IN ('', turn)"
        return list(self._records(f"{where} ORDER BY id DESC LIMIT ?1", (limit, stream, turn)))[::-1]

    def search(self, text: str, limit: int) -> list[TurnRecord]:
        """The last turns with all the words of `text` in question and answer, oldest first. Each may be the beginning of a word."""
        words = text.split()
        if not words:
            return []
        if self._has_words:
            match = " ".join('"{}"*'.format(word.replace('"', '""')) for word in words)
            where, values = "id IN (SELECT rowid FROM words WHERE words MATCH ?)", [match]
        else:
            where = " AND ".join(["transcript || ' ' || reply LIKE ? ESCAPE '\\'"] * len(words))
            values = [f"%{_escape_like(word)}%" for word in words]
        return list(self._records(f"WHERE {where} ORDER BY id DESC LIMIT ?", (*values, limit)))[::-1]

    def export(self, stream: str = "", since_ns: int | None = None, *, prefix: str = "", after: int = 0) -> Iterator[TurnRecord]:
        """All turns in the order in which they were over: of one stream, with a name that begins so, kept after the number `after`,
        that were over at `since_ns` (wall time) or later. Each is left out where nothing is given."""
        where = "id > ?1 AND ?2 IN ('', stream) AND (?3 IS NULL OR wall_ns >= ?3) AND (?4 = '' OR turn >= ?4 AND turn < ?4 || '~')"
        yield from self._records(f"WHERE {where} ORDER BY id", (after, stream, since_ns, prefix))

    def newest_number(self) -> int:
        """The number of the turn that was kept last; later ones have greater numbers, also when it is forgotten."""
        is_first_format = self._record is _FIRST_RECORD
        query = "SELECT max(id) FROM turns" if is_first_format else "SELECT seq FROM sqlite_sequence WHERE name = 'turns'"
        found = self._db.execute(query).fetchone()
        return int(found[0] or 0) if found else 0

    def _records(self, rest: str, values: Sequence[Any]) -> Iterator[TurnRecord]:
        for row in self._db.execute(f"SELECT {self._record} FROM turns {rest}", values):  # noqa: S608 - the parts are ours
            fields = dict(zip(TurnRecord.__struct_fields__, row, strict=True))
            fields["timings_ms"] = msgspec.json.decode(fields["timings_ms"])
            fields["attempts"] = msgspec.json.decode(fields["attempts"], type=list[PastAttempt])
            yield TurnRecord(**fields)

    # -- forgetting -----------------------------------------------------------------------------------------------

    def forget_turn(self, turn: str) -> int:
        """Forget one turn; return how many were forgotten."""
        return self._forget("turn = ?", (turn,))

    def forget_stream(self, stream: str) -> int:
        """Forget a conversation; return how many turns were forgotten."""
        return self._forget("stream = ?", (stream,))

    def forget_before(self, wall_ns: int) -> int:
        """Forget what was over before a point of wall time; return how many turns were forgotten."""
        return self._forget("wall_ns < ?", (wall_ns,))

    def forget_all(self) -> int:
        """Forget everything; return how many turns were forgotten."""
        return self._forget("TRUE", ())

    def _forget(self, where: str, values: Sequence[Any]) -> int:
        """Delete, and leave no copy: pages are zeroed (secure_delete), the word index is made anew, the log is emptied."""
        with transaction(self._db):
            count = self._db.execute(f"DELETE FROM turns WHERE {where}", values).rowcount  # noqa: S608 - the parts are ours
            if count and self._has_words:
                self._db.execute("INSERT INTO words (words) VALUES ('rebuild')")
        busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise sqlite3.OperationalError("forgotten, but another program is reading, so copies are left in the log: run it again")
        return count

    # -- the file -------------------------------------------------------------------------------------------------

    def test_writing(self) -> None:
        """Write something that changes nothing. Raises sqlite3.Error while that cannot be done."""
        self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def take_over(self, damaged: Path) -> int:
        """Take over the turns that can still be read in a damaged file; return how many."""
        places = ", ".join("?" * (_ROW.count(",") + 1))
        insert = f"INSERT OR IGNORE INTO turns ({_ROW}) VALUES ({places})"  # noqa: S608 - the parts are ours
        with transaction(self._db):
            self._db.executemany(insert, readable_rows(damaged, "turns", _ROW, "id") or readable_rows(damaged, "turns", _FIRST_ROW, "id"))
            if self._has_words:
                self._db.execute("INSERT INTO words (words) VALUES ('rebuild')")
        return int(self._db.execute("SELECT count(*) FROM turns").fetchone()[0])

    def _ready(self, read_only: bool) -> bool:
        """Check the file and set the connection up; return whether there is an index of words."""
        try:
            has_words = self._check_schema(read_only)
            if not read_only:
                with suppress(OSError):  # what a read-only disk keeps from us is told when something is written
                    self.path.chmod(0o600)
                for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON", f"cache_size=-{CACHE_KIB}"):
                    self._db.execute(f"PRAGMA {pragma}")
        except BaseException:
            self._db.close()
            raise
        return has_words

    def _error(self, error: sqlite3.Error) -> EarshotError:
        fault = fault_of(error, self.path)
        if fault.damaged and _is_ours(self.path):
            return StoreDamaged(f"the memory store {self.path} is damaged ({error})")
        if fault.passes and self.path.exists():
            return StorageTrouble(f"cannot use {self.path}: {fault.text}")
        return SetupError(f"cannot use {self.path}: {fault.text}; mend or move the file, or set memory.database")

    def _check_schema(self, read_only: bool) -> bool:
        """Make the tables in an empty file, refuse files that are not ours; return whether there is an index of words."""
        application_id, version = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
        can_index = bool(self._db.execute(_CAN_INDEX).fetchone()[0])
        if not tables and not application_id:
            if read_only:
                raise SetupError(f"nothing is remembered yet: {self.path} is empty")
            self._db.executescript(f"BEGIN IMMEDIATE;{';'.join(_SCHEMA)};{_WORDS if can_index else ''}COMMIT;")
            return can_index
        if application_id != APPLICATION_ID:
            raise SetupError(f"{self.path} belongs to another program; set memory.database to a file of its own")
        if version == 1 and read_only:
            self._record = _FIRST_RECORD
        elif version == 1:
            self._migrate()
        elif version != SCHEMA_VERSION:
            formats = f"format {version}, this one knows {SCHEMA_VERSION}"
            raise SetupError(f"{self.path} is from a newer Earshot ({formats}); upgrade Earshot, or set memory.database to another file")
        if "words" in tables and not can_index:
            raise SetupError(f"{self.path} has an index of words, but this Python's SQLite has no FTS5; use the Python that made it")
        return "words" in tables

    def _migrate(self) -> None:
        """Bring a file of the first format up to date, unless another program has just done so."""
        self._db.execute("PRAGMA secure_delete=ON")
        with transaction(self._db):
            if self._db.execute("PRAGMA user_version").fetchone()[0] == 1:
                for step in _FROM_FORMAT_1:
                    self._db.execute(step)


def _is_ours(path: Path) -> bool:
    """Whether the head of a file says that it is a memory store. What may be anybody's is never moved."""
    with suppress(OSError), path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        return head[:16] == b"SQLite format 3\0" and head[68:72] == APPLICATION_ID.to_bytes(4, "big")
    return False


def open_store(path: Path) -> tuple[Store, str]:
    """Open or make the store. One of ours that is damaged is mended first: what can be read goes into a new file, the damaged one
    is kept beside it. Return it, and what the user is to know of the mending, or nothing. Raises as Store does.
    """
    try:
        return Store(path), ""
    except StoreDamaged as damage:
        return mend_store(path, str(damage))


def mend_store(path: Path, damage: str) -> tuple[Store, str]:
    """Make a new store of what can be read of a damaged one, which nobody has open. Raises StorageTrouble when that cannot be done now."""
    counts: list[int] = []

    def rebuild(fresh: Path) -> None:
        with closing(Store(fresh)) as store:
            counts.append(store.take_over(path))

    try:
        aside = mend(path, rebuild)
    except sqlite3.Error as error:
        raise StorageTrouble(f"{damage}, and it cannot be mended: {fault_of(error, path).text}") from None
    except OSError as error:
        raise StorageTrouble(f"{damage}, and it cannot be mended: {error.strerror}; see to {path.parent}") from None
    turns = f"{counts[0]} turn{'' if counts[0] == 1 else 's'} could be read and {'is' if counts[0] == 1 else 'are'} kept"
    return Store(path), f"{damage}: {turns}; the damaged file is kept as {aside}, delete it when you do not need it"


@contextmanager
def open_to_read(path: Path) -> Iterator[Store]:
    """The store, to look into it; also where nothing can be written. Raises as Store does.

    SQLite reads a log beside a database only where it can make its index of the log, or finds one. Where it cannot, a copy in memory
    (/dev/shm) is read.
    """
    try:
        store = Store(path, create=False, read_only=True)
    except StorageTrouble:
        if has_room(path.parent) or not os.access(path, os.R_OK):
            raise
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
            for suffix in ("", "-wal"):
                with suppress(FileNotFoundError):
                    shutil.copyfile(f"{path}{suffix}", f"{directory}/{path.name}{suffix}")
            with closing(Store(Path(directory) / path.name, create=False)) as copy:
                yield copy
        return
    with closing(store):
        yield store


def _escape_like(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
