"""A disk that is full, read-only, locked or torn: one clear line, nothing lost, and service again when the cause goes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.assistant import COMMAND_TIMEOUT_S, PATIENT, SPEECH, Assistant, assistant, lines, placed, words
from tests.processes import is_alive
from tests.waiting import wait_until

SUM = SPEECH / "sum-rms.wav"
SLOW_REPLY = ("rehearsal_llm.first_token_delay_ms=1000", "rehearsal_llm.token_delay_ms=800", PATIENT)
"""So slow that a turn in which something was heard is open still when the disk is full or everybody is dead."""


@dataclass
class Disk:
    """A small disk of its own, in memory."""

    path: Path

    def fill(self) -> None:
        """Leave not a byte."""
        with suppress(OSError), (self.path / "filler").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        (self.path / "filler").unlink(missing_ok=True)

    def remount(self, how: str) -> None:
        """`ro` or `rw`."""
        subprocess.run(["mount", "-o", f"remount,{how}", self.path], check=True)


@contextmanager
def disk(size: str = "4m") -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("mounting a disk needs root")
    with tempfile.TemporaryDirectory(prefix="ear") as directory:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], check=True)
        try:
            yield Disk(Path(directory))
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    """Wait until a command has said this on its standard error."""
    assert process.stderr is not None
    said = []
    while text not in (line := process.stderr.readline()):
        said.append(line)
        assert line, f"ended without {text!r}: {said}"


# -- full ---------------------------------------------------------------------------------------------------------------


def test_a_start_on_a_full_disk_says_so_waits_and_is_ready_when_there_is_room() -> None:
    with disk() as small, placed(PATIENT, state=small.path / "state") as waiting:
        small.fill()
        starting = waiting.popen("start", "--config", "config/rehearsal.toml", *waiting.options, "--detach")
        wait_for_line(starting, f"dispatcher: cannot use the spool {waiting.addresses.spool}: no space is left in ")
        small.free()
        out, _ = starting.communicate(timeout=COMMAND_TIMEOUT_S)
        assert (starting.returncode, out[:5]) == (0, "Ready")
        (turn,) = waiting.hear(SUM)
        assert turn["state"] == "answered"
        assert sum(actor["restarts"] for actor in waiting.status().values()) == 0


@pytest.mark.parametrize("moment", ["speech.started", "transcript.final", "reply.delta"])
def test_a_disk_that_fills_up_in_a_turn_delays_the_turn_and_hear_says_why(moment: str) -> None:
    with disk() as small, placed(*SLOW_REPLY, state=small.path / "state") as running:
        running.start()
        with running.events(moment.partition(".")[0]) as events:
            process = running.popen("hear", "--json", "--pace", "real", str(SUM))
            events.wait_for(moment)
            small.fill()
            running.wait_until(lambda: "no space is left" in running.detail("dispatcher"))
        wait_for_line(process, "dispatcher: the spool cannot be written: no space is left in ")
        small.free()
        out, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)
        assert process.returncode == 0, errors
        assert [turn["reply"] for turn in lines(out)] == ["Two plus three is five."]
        assert len(running.remembered()) == 1
        running.wait_until(lambda: "jobs are taken and written down again" in running.detail("dispatcher"))


def test_everybody_who_is_killed_on_a_full_disk_is_there_again_when_it_has_room() -> None:
    with disk() as small, placed(PATIENT, state=small.path / "state") as running:
        running.start()
        before = {name: actor["pid"] for name, actor in running.status().items()}
        small.fill()
        for name in before:
            running.kill(name)
        for name in set(before) - {"dispatcher", "memory"}:  # the logs are full too, and hinder nobody
            running.wait_until_ready(name, but_not_pid=before[name])
        small.free()
        for name, pid in before.items():
            running.wait_until_ready(name, but_not_pid=pid)
        (turn,) = running.hear(SUM)
        assert turn["state"] == "answered"
        assert {actor["restarts"] for actor in running.status().values()} == {1}


def test_a_full_disk_of_the_memory_store_alone_leaves_the_answers_and_they_are_kept_later() -> None:
    with disk("1m") as small, assistant(f"memory.database={small.path}/memory.sqlite3", PATIENT) as running:
        small.fill()
        with running.events("reply.") as events:
            process = running.popen("hear", "--json", str(SUM))
            assert getattr(events.wait_for("reply.finished").body, "text", "") == "Two plus three is five."
        _, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)
        assert process.returncode == 1
        assert "was given up at the stage remember: the memory store cannot be written: no space is left in" in errors
        assert "the memory store cannot be written" in running.detail("memory")
        small.free()
        running.wait_until(running.remembered)
        assert [turn["reply"] for turn in running.remembered()] == ["Two plus three is five."]
        running.wait_until(lambda: "can be written again" in running.detail("memory"))


def test_a_full_runtime_directory_ends_the_start_with_one_line() -> None:
    with disk("64k") as tiny, placed(runtime=tiny.path / "run") as found:
        tiny.fill()
        done = found.run("start", "--config", "config/rehearsal.toml", "--detach", check=False)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "No space left on device" in done.stderr
        assert str(tiny.path) in done.stderr


def test_the_sound_of_a_file_is_heard_to_its_end_although_its_mark_cannot_be_written() -> None:
    with disk("1m") as tiny, placed(PATIENT, runtime=tiny.path / "run") as running:
        running.start()
        with running.events("speech.") as events:
            process = running.popen("hear", "--json", "--pace", "real", str(SPEECH / "conversation.wav"))
            events.wait_for("speech.started")
            tiny.fill()
            events.wait_for("speech.ended")
            events.wait_for("speech.ended")
            tiny.free()
            out, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)
        assert process.returncode == 0, errors
        assert len(lines(out)) == 10


# -- read-only ----------------------------------------------------------------------------------------------------------


def test_a_read_only_memory_store_is_waited_for_and_can_be_looked_into_meanwhile() -> None:
    with disk() as small, assistant(f"memory.database={small.path}/memory.sqlite3", PATIENT) as running:
        running.hear(SUM)
        running.stop()
        small.remount("ro")
        starting = running.popen("start", "--config", "config/rehearsal.toml", *running.options, "--detach")
        wait_for_line(starting, f"memory: cannot use {small.path}/memory.sqlite3: {small.path} is read-only; make it writable")
        assert len(running.remembered()) == 1
        small.remount("rw")
        out, _ = starting.communicate(timeout=COMMAND_TIMEOUT_S)
        assert (starting.returncode, out[:5]) == (0, "Ready")
        running.hear(SUM)
        assert len(running.remembered()) == 2


def test_a_read_only_state_directory_ends_the_start_with_one_line() -> None:
    with disk() as small, placed(state=small.path / "state") as found:
        found.addresses.prepare()
        small.remount("ro")
        done = found.run("start", "--config", "config/rehearsal.toml", "--detach", check=False)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert f"cannot write to {found.addresses.state_dir}" in done.stderr


# -- torn, foreign, locked ----------------------------------------------------------------------------------------------


def with_an_open_turn(running: Assistant) -> None:
    """Kill everything while a turn is open; return when nobody uses the files any more."""
    everybody = [int((running.addresses.runtime_dir / "lock").read_text()), *(actor["pid"] for actor in running.status().values())]
    with running.events("speech.") as events:
        process = running.popen("hear", "--json", "--pace", "fast", str(SUM))
        events.wait_for("speech.ended")
        os.kill(everybody[0], signal.SIGKILL)
    process.kill()
    process.communicate()
    wait_until(lambda: not any(is_alive(pid) for pid in everybody))


def test_a_torn_spool_is_mended_at_the_start_and_its_open_turn_is_answered() -> None:
    with assistant(*SLOW_REPLY) as running:
        with_an_open_turn(running)
        spool = running.addresses.spool
        with closing(sqlite3.connect(spool)) as db:  # the log goes into the file, so that there is something to tear
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'finished'").fetchone()[0]
        with spool.open("r+b") as file:
            file.seek(4096 * (page - 1))
            file.write(bytes(4096))
        done = running.run("start", "--config", "config/rehearsal.toml", *running.options, "--detach")
        assert "is damaged" in done.stderr
        assert "1 open turn could be read and goes on" in done.stderr
        assert str(spool) + ".damaged-1" in done.stderr
        assert "is damaged" in running.detail("dispatcher")
        running.wait_until(running.remembered)
        assert words(running.remembered()[0]["transcript"]) == words("what is two plus three")


def test_a_memory_store_that_is_torn_in_mid_run_is_mended_and_the_turn_is_kept() -> None:
    with assistant(PATIENT) as running:
        for _ in range(3):
            running.hear(SUM)
        store = running.addresses.state_dir / "memory.sqlite3"
        with closing(sqlite3.connect(store)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'rounds'").fetchone()[0]
        with store.open("r+b") as file:
            file.seek(4096 * (page - 1))
            file.write(bytes(4096))
        running.kill("memory")
        (turn,) = running.hear(SUM)
        assert turn["state"] == "answered"
        assert len(running.remembered()) == 4
        assert "4 turns" in running.detail("memory") or "3 turns could be read" in running.detail("memory")
        assert Path(f"{store}.damaged-1").exists()
        running.run("memory", "forget", "--all", "--yes")
        assert not list(store.parent.glob("*.damaged-*"))


@pytest.mark.parametrize("name", ["spool.sqlite3", "memory.sqlite3"])
def test_another_programs_database_is_refused_once_and_left_alone(tmp_path: Path, name: str) -> None:
    with placed(state=tmp_path / "state") as found:
        found.addresses.prepare()
        foreign = found.addresses.state_dir / name
        with closing(sqlite3.connect(foreign)) as db:
            db.execute("CREATE TABLE cellar (wine TEXT)")
        before = foreign.read_bytes()
        done = found.run("start", "--config", "config/rehearsal.toml", "--detach", check=False)
        assert done.returncode == 1
        assert str(foreign) in done.stderr.splitlines()[-1]
        assert "restarts" not in done.stderr
        assert foreign.read_bytes() == before


@pytest.mark.parametrize("name", ["spool.sqlite3", "memory.sqlite3"])
def test_a_database_that_another_program_has_locked_is_waited_for(name: str) -> None:
    with assistant() as running:
        running.hear(SUM)
        running.stop()
        with closing(sqlite3.connect(running.addresses.state_dir / name, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            starting = running.popen("start", "--config", "config/rehearsal.toml", "--detach")
            wait_for_line(starting, "another program keeps it locked")
        out, _ = starting.communicate(timeout=COMMAND_TIMEOUT_S)
        assert (starting.returncode, out[:5]) == (0, "Ready")
        (turn,) = running.hear(SUM)
        assert turn["state"] == "answered"


def test_a_spool_that_is_locked_in_mid_run_delays_a_turn_and_no_more() -> None:
    with assistant(PATIENT) as running:
        with closing(sqlite3.connect(running.addresses.spool, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            process = running.popen("hear", "--json", str(SUM))
            running.wait_until(lambda: "another program keeps it locked" in running.detail("dispatcher"))
        out, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
        assert [turn["state"] for turn in lines(out)] == ["answered"]
        assert sum(actor["restarts"] for actor in running.status().values()) == 0
