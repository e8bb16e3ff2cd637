"""What is in the spool is there whatever dies, and all of a step or nothing of it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import EarshotError, SpoolError
from bus.messages.jobs import Heard, Job, Transcribe
from bus.moments import Moment
from bus.parked import drop_parked, read_parked
from bus.spool import REMEMBERED_IDS, Spool
from bus.sqlite import transaction
from tests.examples import any_of

NOW = Moment("boot", 5, 1_700_000_000_000_000_000)


def job(turn: str = "a") -> Job:
    return Job(turn=turn, stream="mic", work=Transcribe(first_sample=0, audio_ms=1000, speech_ms=800), marks={"speech_end": 5})


def test_a_job_comes_back_as_it_was_with_its_sound(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    number, turn_order = spool.add(job(), None, b"pcm", born=NOW)
    spool.lease(job(), {"whisper-1/x": 1})
    spool.lease(job(), {"whisper-1/x": 1, "whisper-2/a b#c": 2})
    spool.close()
    again = Spool(tmp_path / "spool")
    (stored,) = again.load()
    assert (stored.job, stored.number, stored.turn_order, stored.attempts, stored.born) == (job(), number, turn_order, 2, NOW)
    assert stored.holders == {"whisper-1/x": 1, "whisper-2/a b#c": 2}
    assert again.payload(job().id) == b"pcm"


@settings(max_examples=50, deadline=None)
@given(jobs=st.lists(any_of(Job), max_size=5, unique_by=lambda job: job.id))
def test_any_job_survives_the_disk(tmp_path_factory: pytest.TempPathFactory, jobs: list[Job]) -> None:
    path = tmp_path_factory.mktemp("spool") / "spool"
    spool = Spool(path)
    for each in jobs:
        spool.add(each, None, born=NOW)
    spool.close()
    assert [stored.job for stored in Spool(path).load()] == jobs


def test_a_finished_job_is_still_known(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.add(job(), None, born=NOW)
    spool.finish(job().id)
    assert spool.load() == []
    assert spool.knows(job().id)
    assert not spool.knows(job("b").id)


def test_a_job_that_is_leased_as_it_comes_to_be_has_its_attempt_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.add(job(), None, born=NOW, holders={"whisper-1/x": 1})
    (stored,) = spool.load()
    assert (stored.attempts, stored.holders) == (1, {"whisper-1/x": 1})


def test_the_sound_of_a_finished_job_is_gone_from_the_file_once_it_is_swept_and_tidied(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    sound = b"what was said" * 1000
    spool.add(job("a"), None, sound, born=NOW)
    spool.add(job("b"), None, b"kept", born=NOW)
    spool.finish(job("a").id)
    spool.tidy()
    assert spool.payload(job("b").id) == b"kept"
    assert not any(b"what was said" in path.read_bytes() for path in tmp_path.iterdir())


def test_the_newest_revision_of_a_turn_counts_all_its_stages_open_or_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    assert spool.newest_revision("a") == -1
    spool.add(job("a"), None, born=NOW)
    spool.add(Job(turn="a", stream="mic", work=Heard(transcript=""), revision=11), None, born=NOW)
    spool.add(Job(turn="ab", stream="mic", work=Heard(transcript=""), revision=12), None, born=NOW)
    assert spool.newest_revision("a") == 11
    spool.finish("a/heard/11")
    assert spool.newest_revision("a") == 11


def test_parked_jobs_are_kept_apart_from_the_open_ones(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.add(job("a"), None, b"pcm", born=NOW)
    spool.add(job("b"), None, born=NOW)
    spool.park(job("a").id, "no luck", 77)
    assert [stored.job.turn for stored in spool.load()] == ["b"]
    (parked,) = spool.parked()
    assert (parked.job, parked.reason, parked.parked_ns, parked.born) == (job("a"), "no luck", 77, NOW)
    assert spool.knows(job("a").id)
    assert spool.payload(job("a").id) == b"pcm"


def test_parked_jobs_are_read_and_dropped_beside_the_dispatcher_and_nothing_of_them_is_left(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for turn in ("a", "b", "c"):
        spool.add(job(turn), None, b"what was said" * 100, born=NOW)
    for turn in ("a", "b"):
        spool.park(job(turn).id, "no luck", 77)
    assert [stored.job.turn for stored in read_parked(tmp_path / "spool")] == ["a", "b"]
    assert drop_parked(tmp_path / "spool", lambda stored: stored.job.turn in ("a", "c")) == 1
    assert [stored.job.turn for stored in spool.parked()] == ["b"]
    assert [stored.job.turn for stored in spool.load()] == ["c"]
    assert spool.knows(job("a").id)  # its segmenter may submit it again
    assert drop_parked(tmp_path / "spool", lambda _: True) == 1
    spool.finish(job("c").id)
    spool.tidy()
    assert not any(b"what was said" in path.read_bytes() for path in tmp_path.iterdir())


def test_without_a_spool_nothing_is_parked_and_no_file_is_made(tmp_path: Path) -> None:
    assert read_parked(tmp_path / "spool") == []
    assert drop_parked(tmp_path / "spool", lambda _: True) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_spool_of_another_version_is_refused_by_all_who_open_it(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "spool") as old:
        old.executescript("CREATE TABLE jobs (number INTEGER); PRAGMA user_version = 1;")
    with pytest.raises(SpoolError, match=r"found 1, want 2"):
        Spool(tmp_path / "spool")
    with pytest.raises(EarshotError, match=r"found 1, want 2"):
        read_parked(tmp_path / "spool")


def test_the_last_run_is_remembered(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    assert spool.last_run() == ""
    spool.begin_run("x")
    spool.begin_run("y")
    assert Spool(tmp_path / "spool").last_run() == "y"


def test_old_finished_ids_are_forgotten(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with spool.transaction():
        for number in range(REMEMBERED_IDS + 1):
            spool.finish(f"id{number}")
    assert not spool.knows("id0")
    assert spool.knows("id1")


def test_a_step_that_fails_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.add(job(), None, born=NOW)
    with pytest.raises(RuntimeError), spool.transaction():
        spool.finish(job().id)
        raise RuntimeError
    assert [stored.job for stored in spool.load()] == [job()]
    assert spool.load()[0].job.id == job().id


def test_follow_up_jobs_keep_the_place_of_their_turn(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    _, first = spool.add(job("a"), None, born=NOW)
    spool.add(job("b"), None, born=NOW)
    spool.add(Job(turn="a", stream="mic", work=Heard(transcript="")), first, born=NOW)
    assert [(stored.job.turn, stored.turn_order) for stored in spool.load()] == [("a", 1), ("b", 2), ("a", 1)]


def test_a_foreign_database_is_refused_with_advice(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "spool") as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(SpoolError, match=r"not a spool of this version.*`mv "):
        Spool(tmp_path / "spool")


def test_the_spool_is_private(tmp_path: Path) -> None:
    Spool(tmp_path / "spool")
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0


def test_everything_that_was_told_survives_a_kill(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from bus.spool import Spool
from tests.unit.bus.test_spool import NOW, job
spool = Spool(Path(sys.argv[1]))
for number in range(10_000):
    spool.add(job(str(number)), None, b"pcm", born=NOW)
    print(number, flush=True)
"""
    path = tmp_path / "spool"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline() for _ in range(200)]
        os.kill(writer.pid, signal.SIGKILL)
        told += writer.stdout.readlines()
    stored = [int(stored.job.turn) for stored in Spool(path).load()]
    complete = [int(line) for line in told if line.endswith("\n")]
    assert len(complete) >= 200
    assert stored[: len(complete)] == complete
    assert len(stored) <= len(complete) + 1  # written, and killed before it could tell


def test_a_commit_that_fails_leaves_no_transaction_open(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "a.sqlite3", isolation_level=None)
    db.executescript(
        "PRAGMA foreign_keys=ON; CREATE TABLE a (n INTEGER PRIMARY KEY); CREATE TABLE b (n REFERENCES a DEFERRABLE INITIALLY DEFERRED);"
    )
    with pytest.raises(sqlite3.IntegrityError), transaction(db):
        db.execute("INSERT INTO b VALUES (7)")  # there is no such row in a, which is found out at the end
    assert not db.in_transaction
    assert db.execute("SELECT count(*) FROM b").fetchone() == (0,)
