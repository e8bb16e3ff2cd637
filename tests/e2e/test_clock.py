"""The wall clock may be set by hours in either direction, and the whole machine may sleep: nothing is lost, nobody is restarted."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bus.addresses import Addresses
from tests.e2e.assistant import COMMAND_TIMEOUT_S, SENTENCES, SPEECH, Assistant, assistant, lines, words
from tests.processes import stop_for
from tests.waiting import wait_until

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
HOURS_5_S = 5 * 3600
WATCHDOG_S = 10.0
"""A machine that is busy with other things must not be taken for one whose clock was set."""
ASLEEP_S = 1.5 * WATCHDOG_S
TOKEN_DELAY_MS = 60
OPTIONS = (
    *("rehearsal_llm.first_token_delay_ms=400", f"rehearsal_llm.token_delay_ms={TOKEN_DELAY_MS}", "llm.patience_s=30"),
    f"launcher.watchdog_s={WATCHDOG_S}",
)


class WallClock:
    """The wall clock of every process started from now on; the monotonic clock stays the machine's own."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "offset"
        self.set(0)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Processes that are started within see this clock.

        Not for commands that sleep (`start --detach`, `stop`): on a busy machine libfaketime 0.9.10 fails a `clock_nanosleep` whose
        end has passed.
        """
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LD_PRELOAD", str(LIBRARIES[0]))
            patch.setenv("FAKETIME_TIMESTAMP_FILE", str(self._file))
            for name in ("FAKETIME_DONT_FAKE_MONOTONIC", "FAKETIME_NO_CACHE", "NO_FAKE_STAT"):
                patch.setenv(name, "1")
            yield

    def set(self, offset_s: int) -> None:
        """So far ahead of the true time, for all of them at once."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        new.replace(self._file)


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> WallClock:
    if not LIBRARIES:
        pytest.skip("libfaketime is not installed (Debian: apt install faketime)")
    return WallClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def running(clock: WallClock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Assistant]:
    with tempfile.TemporaryDirectory(prefix="ear") as directory:
        found = Assistant(Addresses(Path(directory) / "run", Path(directory) / "state"))
        sets = [part for option in OPTIONS for part in ("--set", option)]
        with clock.shown():
            process = found.popen("start", "--background", "--config", "config/rehearsal.toml", *sets)
        wait_until(found.is_ready)
        yield found
        process.terminate()
        process.communicate(timeout=COMMAND_TIMEOUT_S)


def heard(running: Assistant, clock: WallClock, name: str, pace: str = "fast") -> subprocess.Popen[str]:
    with clock.shown():
        return running.popen("hear", "--json", "--pace", pace, str(SPEECH / name))


def restarted(running: Assistant) -> list[str]:
    """Who was started again, and what the launcher wrote down about all."""
    names = [name for name, actor in running.status().items() if actor["restarts"]]
    return [*names, (running.addresses.logs_dir / "launcher.log").read_text()] if names else []


@pytest.mark.parametrize("moment", ["speech.started", "speech.ended", "reply.delta"])
@pytest.mark.parametrize("jump_s", [HOURS_5_S, -HOURS_5_S], ids=["five hours ahead", "five hours back"])
def test_a_turn_in_which_the_clock_is_set_is_answered_once(running: Assistant, clock: WallClock, moment: str, jump_s: int) -> None:
    clock.set(0)
    before = len(running.remembered())
    running.rehearse(token_delay_ms=1000)  # so that the turn is not over before the clock is set
    with running.events(moment.partition(".")[0]) as events:
        process = heard(running, clock, "sum-rms.wav", "real")
        events.wait_for(moment)
        clock.set(jump_s)
        running.rehearse(token_delay_ms=TOKEN_DELAY_MS)
        out, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)
    assert (process.returncode, errors) == (0, "")
    (turn,) = lines(out)
    assert turn["reply"] == "Two plus three is five."
    assert all(0 <= milliseconds < 60_000 for milliseconds in turn["timings_ms"].values())
    (record,) = running.remembered()[before:]
    assert record["turn"] == turn["turn"]
    assert abs(record["wall_ns"] / 1e9 - time.time() - jump_s) < 600  # the jump was real
    assert restarted(running) == []


def test_turns_stay_in_the_order_in_which_they_were_spoken_and_in_each_others_context(running: Assistant, clock: WallClock) -> None:
    clock.set(0)
    before = len(running.remembered())
    offsets = [0, HOURS_5_S, -HOURS_5_S, 2 * HOURS_5_S, 0]
    with running.events("turn.") as events:
        process = heard(running, clock, "conversation.wav")
        for offset_s in offsets:
            events.wait_for("turn.finished")
            clock.set(offset_s)
        out, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
    assert [words(turn["transcript"]) for turn in lines(out)] == [words(sentence) for sentence in SENTENCES]
    assert [words(turn["transcript"]) for turn in running.remembered()[before:]] == [words(sentence) for sentence in SENTENCES]
    assert "Your name is Anna." in [turn["reply"] for turn in lines(out)]
    listed = lines(running.run("memory", "list", "--json", "--last", "3").stdout)
    assert [words(turn["transcript"]) for turn in listed] == [words(sentence) for sentence in SENTENCES[-3:]]
    assert restarted(running) == []


def test_forgetting_by_time_goes_by_the_time_that_the_clock_showed_then(running: Assistant, clock: WallClock) -> None:
    running.run("memory", "forget", "--all", "--yes")
    clock.set(-HOURS_5_S)
    heard(running, clock, "sum-rms.wav").communicate(timeout=COMMAND_TIMEOUT_S)
    clock.set(0)
    heard(running, clock, "joke-slt.wav").communicate(timeout=COMMAND_TIMEOUT_S)
    assert len(running.remembered()) == 2
    assert running.run("memory", "forget", "--before", "1h", "--yes").stdout == "Forgot 1 turn.\n"
    (left,) = running.remembered()
    assert words(left["transcript"]) != words("what is two plus three")


def test_a_machine_that_slept_in_the_middle_of_a_turn_goes_on_where_it_was() -> None:
    with assistant(*OPTIONS) as sleeper, sleeper.events("reply.") as events:
        process = sleeper.popen("hear", "--json", "--pace", "real", str(SPEECH / "sum-rms.wav"))
        events.wait_for("reply.started")
        everybody = [int((sleeper.addresses.runtime_dir / "lock").read_text()), *(actor["pid"] for actor in sleeper.status().values())]
        stop_for(ASLEEP_S, *everybody)
        out, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
        assert process.returncode == 0
        assert [turn["reply"] for turn in lines(out)] == ["Two plus three is five."]
        (again,) = sleeper.hear(SPEECH / "sum-rms.wav")
        assert again["state"] == "answered"
        assert restarted(sleeper) == []
