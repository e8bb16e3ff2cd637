"""A memory store that is torn, foreign, locked or out of reach: what can be read is kept, and nothing is deleted."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from actors.memory.store import Store, mend_store, open_store, open_to_read
from bus.errors import SetupError, StorageTrouble
from bus.messages.turn import TurnRecord

KEPT = 200


def record(number: int) -> TurnRecord:
    text = f"sentence number {number} " * 10
    return TurnRecord(
        turn=f"t{number}", stream="mic", role="plain", state="answered", transcript=text, reply="Yes.", wall_ns=1, timings_ms={"total": 1.0}
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store as a process leaves it that was killed: the last turn stands in the log alone."""
    live = tmp_path / "live"
    store = Store(live)
    for number in range(KEPT - 1):
        store.remember(record(number), 12)
    with closing(sqlite3.connect(live)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.remember(record(KEPT - 1), 12)
    found = tmp_path / "memory.sqlite3"
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{live}{suffix}", f"{found}{suffix}")
    store.close()
    return found


def turns(store: Store) -> list[str]:
    return [each.turn for each in store.export()]


def tear_pages_of_turns(path: Path) -> None:
    """Zero a page in which turns stand, whole: the file's head is as it was."""
    data = path.read_bytes()
    page = data.index(b"sentence number 100 ") // 4096 * 4096
    with path.open("r+b") as file:
        file.seek(page)
        file.write(bytes(4096))


def test_a_torn_store_is_mended_with_the_turns_that_can_be_read_and_the_torn_file_is_kept(path: Path) -> None:
    tear_pages_of_turns(path)
    store = Store(path)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        turns(store)
    store.close()
    mended, note = mend_store(path, f"the memory store is damaged ({caught.value})")
    with closing(mended):
        found = turns(mended)
        assert KEPT // 2 < len(found) < KEPT
        assert found[-1] == f"t{KEPT - 1}"
        assert mended.search("sentence 199", 5)[-1].turn == "t199"
        assert mended.remember(record(1000), 12).turn == "t1000"
        assert [past.number for past in mended.window("mic", 3, 1)] == [198, 199, 200]
    (aside,) = [file for file in path.parent.glob("*.damaged-*") if not file.name.endswith("-wal")]
    assert str(aside) in note
    assert f"{len(found)} turns could be read" in note


def test_a_store_whose_tables_cannot_be_read_at_all_is_begun_anew_and_kept(path: Path) -> None:
    Path(f"{path}-wal").unlink()
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3996)
    store, note = open_store(path)
    with closing(store):
        assert turns(store) == []
        store.remember(record(1), 12)
    assert "0 turns could be read" in note


@pytest.mark.parametrize("content", [b"Dear diary, this is no database. " * 50, b"\x00" * 8192])
def test_a_file_that_may_be_anybodys_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "diary").write_bytes(content)
    with pytest.raises(SetupError, match="mend or move the file"):
        open_store(tmp_path / "diary")
    assert (tmp_path / "diary").read_bytes() == content
    assert list(tmp_path.iterdir()) == [tmp_path / "diary"]


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "memory").touch()
    store, note = open_store(tmp_path / "memory")
    with closing(store):
        assert (turns(store), note) == ([], "")


def test_a_directory_of_that_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    with pytest.raises(SetupError, match="it is a directory; move it away"):
        open_store(tmp_path / "memory")


def cut_the_log(path: Path) -> None:
    log = Path(f"{path}-wal")
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 500)


def lose_the_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


@pytest.mark.parametrize("loss", [cut_the_log, lose_the_log])
def test_a_log_that_was_half_written_or_is_lost_costs_its_last_turn_and_no_more(path: Path, loss: Callable[[Path], None]) -> None:
    loss(path)
    store, note = open_store(path)
    with closing(store):
        assert note == ""
        assert turns(store) == [f"t{number}" for number in range(KEPT - 1)]


@contextmanager
def read_only(directory: Path, files: Path) -> Iterator[Path]:
    """A read-only disk with these files on it."""
    if os.geteuid() != 0:
        pytest.skip("mounting a read-only disk needs root")
    disk = directory / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=True)
    try:
        for file in files.parent.glob(f"{files.name}*"):
            shutil.copy(file, disk)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        yield disk / files.name
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("left", [("", "-wal", "-shm"), ("", "-wal"), ("",)], ids=["all", "no index of the log", "closed"])
def test_what_was_said_can_be_read_from_a_read_only_disk(tmp_path: Path, path: Path, left: tuple[str, ...]) -> None:
    for suffix in {"-wal", "-shm"} - set(left):
        Path(f"{path}{suffix}").unlink()
    with read_only(tmp_path, path) as there:
        with open_to_read(there) as store:
            assert turns(store) == [f"t{number}" for number in range(KEPT if "-wal" in left else KEPT - 1)]
            assert store.search("sentence 7", 500)
        environ = {**os.environ, "EARSHOT_STATE_DIR": str(there.parent), "EARSHOT_RUNTIME_DIR": f"{tmp_path}/run"}
        command = [sys.executable, "-m", "actors.memory", "list", "--last", "1", "--json"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        assert done.stdout.count("\n") == 1
        with pytest.raises((StorageTrouble, sqlite3.OperationalError), match=r"read-?only"), closing(Store(there)) as store:
            store.remember(record(1000), 12)


def test_forgetting_on_a_read_only_disk_says_in_one_line_that_it_cannot(tmp_path: Path, path: Path) -> None:
    with read_only(tmp_path, path) as there:
        environ = {**os.environ, "EARSHOT_STATE_DIR": str(there.parent), "EARSHOT_RUNTIME_DIR": f"{tmp_path}/run"}
        command = [sys.executable, "-m", "actors.memory", "forget", "--all", "--yes"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "read-only" in done.stderr


def test_the_numbers_of_turns_are_never_given_twice_so_a_mark_holds(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "memory")) as store:
        assert store.newest_number() == 0
        store.remember(record(1), 12)
        mark = store.newest_number()
        store.forget_all()
        store.remember(record(2), 12)
        assert [each.turn for each in store.export(after=mark)] == ["t2"]


def test_turns_are_chosen_by_the_beginning_of_their_names(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "memory")) as store:
        for number in (1, 2, 10):
            store.remember(record(number), 12)
        assert [each.turn for each in store.export(prefix="t1")] == ["t1", "t10"]
