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

from bus.errors import SpoolError
from bus.messages.jobs import Heard, Job, Transcribe
from bus.spool import REMEMBERED_IDS, Spool
from tests.examples import any_of


def job(turn: str = "a") -> Job:
    return Job(turn=turn, stream="mic", work=Transcribe(first_sample=0, audio_ms=1000, speech_ms=800), marks={"speech_end": 5})


def test_a_job_comes_back_as_it_was_with_its_sound(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    number, turn_order = spool.add(job(), None, b"pcm")
    spool.lease(job().id, "whisper-1/x")
    spool.close()
    again = Spool(tmp_path / "spool")
    (stored,) = again.load()
    assert (stored.job, stored.number, stored.turn_order, stored.attempts, stored.holder) == (job(), number, turn_order, 1, "whisper-1/x")
    assert again.payload(job().id) == b"pcm"


@settings(max_examples=50, deadline=None)
@given(jobs=st.lists(any_of(Job), max_size=5, unique_by=lambda job: job.id))
def test_any_job_survives_the_disk(tmp_path_factory: pytest.TempPathFactory, jobs: list[Job]) -> None:
    path = tmp_path_factory.mktemp("spool") / "spool"
    spool = Spool(path)
    for each in jobs:
        spool.add(each, None)
    spool.close()
    assert [stored.job for stored in Spool(path).load()] == jobs


def test_a_finished_job_is_still_known(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.add(job(), None)
    spool.finish(job().id)
    assert spool.load() == []
    assert spool.knows(job().id)
    assert not spool.knows(job("b").id)


def test_old_finished_ids_are_forgotten(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with spool.transaction():
        for number in range(REMEMBERED_IDS + 1):
            spool.finish(f"id{number}")
    assert not spool.knows("id0")
    assert spool.knows("id1")


def test_a_step_that_fails_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.add(job(), None)
    with pytest.raises(RuntimeError), spool.transaction():
        spool.finish(job().id)
        raise RuntimeError
    assert [stored.job for stored in spool.load()] == [job()]
    assert spool.load()[0].job.id == job().id


def test_follow_up_jobs_keep_the_place_of_their_turn(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    _, first = spool.add(job("a"), None)
    spool.add(job("b"), None)
    spool.add(Job(turn="a", stream="mic", work=Heard(transcript="")), first)
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
from tests.unit.bus.test_spool import job
spool = Spool(Path(sys.argv[1]))
for number in range(10_000):
    spool.add(job(str(number)), None, b"pcm")
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
