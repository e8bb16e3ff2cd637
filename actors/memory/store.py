"""The turns on disk: one SQLite file, private to its user.

`journal_mode=WAL, synchronous=NORMAL`: a turn is there whole or not at all, whatever is killed; readers never wait for the writer,
so the command line looks and forgets while the assistant runs. Nothing is cached, so what is forgotten is gone at once.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from actors.memory.context import PastRound, window_start
from bus.addresses import Addresses
from bus.errors import EarshotError, SetupError
from bus.messages.turn import Round, TurnRecord
from bus.settings import MemorySettings
from bus.sqlite import transaction

APPLICATION_ID = 0x45617273  # "Ears": tells our files from other programs' SQLite files
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 2.0  # shorter than the main loop may take over one call
DEFAULT_NAME = "memory.sqlite3"

_SCHEMA = f"""
CREATE TABLE turns (
  id INTEGER PRIMARY KEY,
  turn TEXT NOT NULL UNIQUE, stream TEXT NOT NULL, role TEXT NOT NULL, state TEXT NOT NULL,
  transcript TEXT NOT NULL, reply TEXT NOT NULL, wall_ns INTEGER NOT NULL, timings_ms TEXT NOT NULL, detail TEXT NOT NULL,
  round INTEGER, tokens INTEGER NOT NULL);
CREATE UNIQUE INDEX rounds ON turns (stream, round) WHERE round IS NOT NULL;
CREATE INDEX times ON turns (wall_ns);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""
_WORDS = "CREATE VIRTUAL TABLE words USING fts5 (transcript, reply, content='turns', content_rowid='id');"
_CAN_INDEX = "SELECT sqlite_compileoption_used('ENABLE_FTS5')"
_RECORD = "turn, stream, role, state, transcript, reply, wall_ns, timings_ms, detail"


def database_path(settings: MemorySettings, addresses: Addresses) -> Path:
    """Where the turns are kept. A relative `memory.database` is meant from the state directory."""
    return addresses.state_dir / Path(settings.database or DEFAULT_NAME).expanduser()


class Store:
    """The turns that are over. Every method may raise sqlite3.Error when the disk is full or the file is locked for too long."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open the file, or make it. Raise SetupError when it is not ours, is newer than we are, or cannot be used; EarshotError when
        it is locked just now."""
        self._path = path
        try:
            if create:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with suppress(FileExistsError):
                    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._has_words = self._check_schema()
            path.chmod(0o600)
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON"):
                self._db.execute(f"PRAGMA {pragma}")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:  # passes by itself, so a new start may help
                raise EarshotError(f"cannot use {path}: another program has kept it locked for {BUSY_TIMEOUT_S:g} s; try again") from None
            raise SetupError(f"cannot use {path}: {error}; mend or move the file, or set memory.database") from None
        except OSError as error:
            raise SetupError(f"cannot use {path}: {error.strerror}; set memory.database to a file that can be written") from None

    def close(self) -> None:
        self._db.close()

    # -- the course of a turn -------------------------------------------------------------------------------------

    def remember(self, record: TurnRecord, tokens: int) -> TurnRecord:
        """Keep a turn; return it as it is kept. A turn that is kept already stays as it was."""
        is_round = record.state == "answered"
        row = (*msgspec.structs.astuple(record)[:7], msgspec.json.encode(record.timings_ms).decode(), record.detail)
        number = "(SELECT coalesce(max(round) + 1, 0) FROM turns WHERE stream = ?2)" if is_round else "NULL"
        values = f"VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, {number}, ?10)"
        insert = f"INSERT INTO turns ({_RECORD}, round, tokens) {values} ON CONFLICT (turn) DO NOTHING"
        with transaction(self._db):
            cursor = self._db.execute(insert, (*row, tokens))
            if cursor.rowcount and self._has_words:
                words = "INSERT INTO words (rowid, transcript, reply) VALUES (?, ?, ?)"
                self._db.execute(words, (cursor.lastrowid, record.transcript, record.reply))
        return next(self._records("WHERE turn = ?", (record.turn,)))

    def window(self, stream: str, rounds: int, block: int) -> list[PastRound]:
        """The newest rounds of a stream, oldest first, as many as `context.window_start` says."""
        newest = self._db.execute("SELECT max(round) FROM turns WHERE stream = ? AND round IS NOT NULL", (stream,)).fetchone()[0]
        if newest is None:
            return []
        start = window_start(newest + 1, rounds, block)
        query = "SELECT round, tokens, transcript, reply FROM turns WHERE stream = ? AND round >= ? ORDER BY round"
        rows = self._db.execute(query, (stream, start))
        return [PastRound(number, tokens, Round(user=user, assistant=assistant)) for number, tokens, user, assistant in rows]

    def set_tokens(self, turn: str, tokens: int) -> None:
        """Put a count in the place of an estimate."""
        self._db.execute("UPDATE turns SET tokens = ? WHERE turn = ?", (tokens, turn))

    # -- looking back ---------------------------------------------------------------------------------------------

    def newest(self, limit: int) -> list[TurnRecord]:
        """The last turns, oldest first."""
        return list(self._records("ORDER BY id DESC LIMIT ?", (limit,)))[::-1]

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

    def export(self, stream: str = "", since_ns: int = 0) -> Iterator[TurnRecord]:
        """All turns that were over at `since_ns` (wall time) or later, oldest first; of one stream, or (empty) of all."""
        yield from self._records("WHERE wall_ns >= ?1 AND ?2 IN ('', stream) ORDER BY id", (since_ns, stream))

    def _records(self, rest: str, values: Sequence[Any]) -> Iterator[TurnRecord]:
        for row in self._db.execute(f"SELECT {_RECORD} FROM turns {rest}", values):  # noqa: S608 - the parts are ours
            fields = dict(zip(TurnRecord.__struct_fields__, row, strict=True))
            fields["timings_ms"] = msgspec.json.decode(fields["timings_ms"])
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

    def _check_schema(self) -> bool:
        """Make the tables in an empty file, refuse files that are not ours; return whether there is an index of words."""
        application_id, version = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
        can_index = bool(self._db.execute(_CAN_INDEX).fetchone()[0])
        if not tables and not application_id:
            self._db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}{_WORDS if can_index else ''}COMMIT;")
            return can_index
        if application_id != APPLICATION_ID:
            raise SetupError(f"{self._path} belongs to another program; set memory.database to a file of its own")
        if version != SCHEMA_VERSION:
            formats = f"format {version}, this one knows {SCHEMA_VERSION}"
            raise SetupError(f"{self._path} is from a newer Earshot ({formats}); upgrade Earshot, or set memory.database to another file")
        if "words" in tables and not can_index:
            raise SetupError(f"{self._path} has an index of words, but this Python's SQLite has no FTS5; use the Python that made it")
        return "words" in tables


def _escape_like(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
