"""A spool that is torn, foreign or locked: what can be read of it goes on, and nothing that was in it is deleted."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bus.errors import SpoolError, StorageTrouble
from bus.messages.jobs import Job
from bus.parked import drop_parked
from bus.spool import Spool, open_spool
from tests.unit.bus.test_spool import NOW, job

SECRET = b"what is two plus three"
OPEN = 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A spool with some open jobs, closed as by a process that was killed: the last of them stands in the log alone."""
    live = tmp_path / "live"
    spool = Spool(live)
    for number in range(OPEN - 1):
        spool.add(job(f"t{number}"), None, SECRET + bytes(3000), born=NOW)
    spool.tidy()
    spool.add(job(f"t{OPEN - 1}"), None, SECRET, born=NOW)
    found = tmp_path / "spool"
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{live}{suffix}", f"{found}{suffix}")
    spool.close()
    return found


def turns(jobs: list[Job]) -> list[str]:
    return [each.turn for each in jobs]


def opened(path: Path) -> tuple[list[str], str]:
    """The turns in the spool, and what was told of its mending; the spool works."""
    spool, note = open_spool(path)
    with closing(spool):
        found = turns([stored.job for stored in spool.load()])
        new = job(f"new-{len(found)}")
        spool.add(new, None, b"pcm", born=NOW)
        assert spool.payload(new.id) == b"pcm"
    return found, note


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def tear_a_page(path: Path) -> None:
    size = path.stat().st_size
    overwrite(path, size // 2 // 4096 * 4096, bytes(4096))


def cut_the_end(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def spoil_the_head(path: Path) -> None:
    overwrite(path, 0, b"\xff" * 100)
    Path(f"{path}-wal").unlink()


def write_a_letter(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    path.write_text("Dear reader, this is no database, though it is long enough to be taken for one. " * 20)


@pytest.mark.parametrize("damage", [tear_a_page, cut_the_end, spoil_the_head, write_a_letter])
def test_a_damaged_spool_is_mended_and_the_damaged_file_is_kept_and_named(path: Path, damage: Callable[[Path], None]) -> None:
    damage(path)
    torn = path.read_bytes()
    found, note = opened(path)
    assert "is damaged" in note
    (aside,) = [file for file in path.parent.glob("spool.damaged-*") if not file.name.endswith("-wal")]
    assert str(aside) in note
    kept = aside.read_bytes()
    assert kept == torn or SECRET in kept  # where SQLite could read it, it has put the log into it
    assert set(found) <= {f"t{number}" for number in range(OPEN)}
    assert opened(path) == ([*found, f"new-{len(found)}"], "")


@pytest.mark.parametrize("damage", [tear_a_page])
def test_what_does_not_lie_at_the_damage_goes_on_in_its_order(path: Path, damage: Callable[[Path], None]) -> None:
    damage(path)
    found, note = opened(path)
    assert len(found) >= OPEN // 2
    assert f"{len(found)} open turns could be read" in note
    assert sorted(found, key=lambda turn: int(turn[1:])) == found


def test_a_job_that_cannot_be_decoded_does_not_take_the_others_with_it(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE jobs SET job = x'ff' WHERE number = 3")
    found, note = opened(path)
    assert "could be read" in note
    assert len(found) == OPEN - 1


def test_a_second_damage_does_not_overwrite_what_was_kept_of_the_first(path: Path) -> None:
    for _ in range(2):
        write_a_letter(path) if Path(f"{path}-wal").exists() else path.write_text("no database " * 100)
        opened(path)
    assert len([file for file in path.parent.glob("spool.damaged-*") if "-wal" not in file.name]) == 2


def test_a_log_whose_end_was_half_written_gives_what_was_whole(path: Path) -> None:
    wal = Path(f"{path}-wal")
    with wal.open("r+b") as file:
        file.truncate(wal.stat().st_size - 1000)
    found, note = opened(path)
    assert note == ""
    assert found == [f"t{number}" for number in range(OPEN - 1)]


def test_a_lost_log_beside_a_left_over_index_of_it_is_no_damage(path: Path) -> None:
    Path(f"{path}-wal").unlink()
    found, note = opened(path)
    assert note == ""
    assert found == [f"t{number}" for number in range(OPEN - 1)]


def test_an_empty_file_becomes_a_spool(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    assert opened(tmp_path / "spool") == ([], "")


def test_a_directory_of_that_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    with pytest.raises(SpoolError, match="it is a directory; move it away"):
        open_spool(tmp_path / "spool")


@pytest.mark.parametrize("statement", ["CREATE TABLE recipes (name TEXT)", "PRAGMA user_version = 7", "PRAGMA user_version = 1"])
def test_a_file_of_another_program_or_version_is_refused_and_left_alone(tmp_path: Path, statement: str) -> None:
    with closing(sqlite3.connect(tmp_path / "spool")) as other, other:
        other.execute("CREATE TABLE cellar (wine TEXT)")
        other.execute(statement)
    before = (tmp_path / "spool").read_bytes()
    with pytest.raises(SpoolError, match="`mv "):
        opened(tmp_path / "spool")
    assert not list(tmp_path.glob("*.damaged-*"))
    assert (tmp_path / "spool").read_bytes()[100:] == before[100:]


def test_a_spool_that_another_program_has_locked_is_a_trouble_that_passes(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageTrouble, match="another program keeps it locked"):
            open_spool(path)
    assert opened(path)[0] == [f"t{number}" for number in range(OPEN)]


def test_forgetting_everything_takes_what_was_set_aside_with_it(path: Path) -> None:
    tear_a_page(path)
    opened(path)
    assert any(SECRET in file.read_bytes() for file in path.parent.glob("spool.damaged-*"))
    drop_parked(path, lambda _: True, set_aside=True)
    assert not list(path.parent.glob("spool.damaged-*"))
