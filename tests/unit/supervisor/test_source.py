"""`hear` and its source: it is through when it has taken its mark away, and not before."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.addresses import Addresses
from bus.audio import Mark
from bus.clock import ManualClock
from supervisor import source
from supervisor.source import MAX_LIVES, FileSource
from tests.waiting import pump_until

Start = Callable[..., FileSource]


@pytest.fixture
def addresses(tmp_path: Path) -> Addresses:
    return Addresses(tmp_path / "run", tmp_path / "state")


@pytest.fixture
def start(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a source whose program is given in Python; `mark` is its mark, and `lives` a file to which it has added a line."""
    started: list[FileSource] = []
    addresses.prepare()
    mark, lives = addresses.audio_file("hear", "mark"), addresses.state_dir / "lives"

    def begin(program: str, clock: Callable[[], float] = time.monotonic) -> FileSource:
        head = (
            f"import os, signal, sys, time; from pathlib import Path; mark, lives = Path({str(mark)!r}), Path({str(lives)!r});"
            "lives.open('a').write('x'); life = len(lives.read_text())\n"
        )
        monkeypatch.setattr(source, "command", lambda *_: (sys.executable, "-c", head + program))
        Mark("e1", 0, "").write(mark)
        started.append(FileSource(addresses, "hear", Path("sound.wav"), name="hear", pace="fast", clock=clock))
        return started[-1]

    yield begin
    for each in started:
        each.close()


def lives(addresses: Addresses) -> int:
    return len((addresses.state_dir / "lives").read_text())


@pytest.mark.parametrize("end", ["sys.exit(0)", "sys.exit(75)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_source_that_ends_with_its_mark_in_place_is_started_again_however_it_ended(start: Start, addresses: Addresses, end: str) -> None:
    hearing = start(f"if life == 1: {end}\nmark.unlink()")
    pump_until(lambda: hearing.over, hearing.step)
    assert (hearing.problem, lives(addresses)) == ("", 2)


def test_a_source_that_is_killed_when_it_has_taken_its_mark_away_was_through(start: Start, addresses: Addresses) -> None:
    hearing = start("mark.unlink(); os.kill(os.getpid(), signal.SIGKILL)")
    pump_until(lambda: hearing.over, hearing.step)
    assert (hearing.problem, lives(addresses)) == ("", 1)


def test_a_source_that_does_not_come_on_is_given_up(start: Start, addresses: Addresses) -> None:
    hearing = start("sys.exit(1)")
    pump_until(lambda: hearing.over, hearing.step)
    assert "sound.wav cannot be heard" in hearing.problem
    assert lives(addresses) == MAX_LIVES


def test_a_source_that_comes_on_may_die_as_often_as_it_likes(start: Start, addresses: Addresses) -> None:
    hearing = start("mark.write_text(f'e1\\n{life * 480}\\n') if life < 3 * 4 else mark.unlink(); sys.exit(1)")
    pump_until(lambda: hearing.over, hearing.step)
    assert (hearing.problem, lives(addresses)) == ("", 12)


def test_a_source_that_stops_beating_is_killed_and_started_again(start: Start, addresses: Addresses) -> None:
    clock = ManualClock()
    hearing = start("time.sleep(3600 if life == 1 else 0); mark.unlink()", lambda: clock.monotonic_ns() / 1e9)
    pump_until(lambda: (addresses.state_dir / "lives").exists() and lives(addresses) == 1, hearing.step)
    pump_until(lambda: hearing._lives == 2, lambda: clock.advance_s(0.5), hearing.step)
    pump_until(lambda: hearing.over, hearing.step)  # the second has all the time that it needs to start
    assert (hearing.problem, lives(addresses)) == ("", 2)
