"""The beat stops when a phase overstays, and only then."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.liveness import Beat, Deadlines, Phases
from bus.notify import Notifier
from tests.waiting import DEADLINE_S

STEADY = """
import os, time
from actors.liveness import Beat, Phases
from bus.notify import Notifier
phases = Phases()
phases.enter("idle", 2.0)
Beat(phases, Notifier(), os.environ).start()
while True:
    phases.enter("idle", 2.0)
    time.sleep(0.6)
    print("round", flush=True)
"""
"""A main loop that needs a third of the time it has, as `idle` does, and tells of each round."""

LONG_S = 4.0
"""A phase that is not over before the first beat, though the machine be away for a while."""


class Parent:
    """The receiving end of $NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(DEADLINE_S)
        self.notifier = Notifier({"NOTIFY_SOCKET": str(path)})

    def hear(self) -> str:
        return self.socket.recv(4096).decode()


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    parent = Parent(tmp_path / "notify")
    yield parent
    parent.socket.close()


def test_a_phase_overstays_after_its_deadline() -> None:
    now = [0]
    phases = Phases(lambda: now[0])
    phases.enter("idle", 1.0)
    now[0] = 900_000_000
    assert phases.overstayed_s() == pytest.approx(-0.1)
    now[0] = 1_200_000_000
    assert phases.overstayed_s() == pytest.approx(0.2)


def test_a_process_begins_by_importing_and_has_a_deadline_for_it() -> None:
    phases = Phases(lambda: 0, Deadlines(importing_s=7.0))
    assert phases.name == "importing"
    assert phases.overstayed_s() == -7.0


def test_time_in_which_the_process_did_not_run_is_forgiven_to_the_present_phase_alone() -> None:
    now = [0]
    phases = Phases(lambda: now[0])
    phases.enter("handling", 1.0)
    now[0] = 10_000_000_000
    phases.forgive(5.0)
    phases.forgive(4.5)
    assert phases.overstayed_s() == pytest.approx(-0.5)
    phases.enter("handling", 1.0)
    now[0] = 12_000_000_000
    assert phases.overstayed_s() == pytest.approx(1.0)


def test_after_a_phase_within_a_phase_the_outer_one_begins_anew() -> None:
    now = [0]
    phases = Phases(lambda: now[0])
    phases.enter("handling", 5.0)
    with phases.during("transcribing", 60.0):
        now[0] = 30_000_000_000
        assert phases.name == "transcribing"
        assert phases.overstayed_s() < 0
    assert phases.name == "handling"
    assert phases.overstayed_s() == pytest.approx(-5.0)


def test_the_beat_tells_the_parent_the_phase(parent: Parent) -> None:
    phases = Phases()
    phases.enter("idle", 100)
    beat = Beat(phases, parent.notifier, {"WATCHDOG_USEC": "40000"})
    beat.start()
    assert parent.hear() == "WATCHDOG=1\nX_EARSHOT_PHASE=idle"
    beat.end()
    beat.join()


def test_a_process_that_was_stopped_and_goes_on_is_not_called_hung_however_patient_its_parent(tmp_path: Path) -> None:
    parent = Parent(tmp_path / "notify")
    environ = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
    process = subprocess.Popen([sys.executable, "-c", STEADY], env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert parent.hear() == "WATCHDOG=1\nX_EARSHOT_PHASE=idle"
    for _ in range(3):
        process.send_signal(signal.SIGSTOP)
        time.sleep(2.4)  # the length of the stop is what is tested
        process.send_signal(signal.SIGCONT)
        for _ in range(2):
            process.stdout.readline()
    process.kill()
    process.communicate()
    parent.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        pytest.fail(parent.hear())
    parent.socket.close()


def test_the_end_of_a_phase_is_looked_at_when_it_comes_and_not_at_the_next_look(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.liveness.LOOK_S", 2 * DEADLINE_S)
    phases = Phases()
    phases.enter("transcribing", LONG_S)
    began_s = time.monotonic()
    beat = Beat(phases, parent.notifier, {"WATCHDOG_USEC": "600000000"})
    beat.start()
    assert parent.hear().startswith("WATCHDOG=1\n")
    assert parent.hear().startswith("WATCHDOG=trigger\n")
    assert time.monotonic() - began_s >= LONG_S
    beat.end()
    beat.join()


def test_a_beat_for_which_there_was_no_room_is_made_up_for_before_the_next(parent: Parent) -> None:
    while parent.notifier.tell(STATUS="full"):
        pass
    phases = Phases()
    phases.enter("idle", 100)
    beat = Beat(phases, parent.notifier, {"WATCHDOG_USEC": "60000000"})
    beat.start()
    while (said := parent.hear()) == "STATUS=full":
        pass
    assert "WATCHDOG=1" in said
    beat.end()
    beat.join()


def test_when_a_phase_overstays_the_parent_is_told_at_once_and_the_stacks_are_written(
    parent: Parent, capfd: pytest.CaptureFixture[str]
) -> None:
    overdue = threading.Event()
    phases = Phases(lambda: 10_000_000_000 if overdue.is_set() else 0)
    phases.enter("transcribing", 5)
    beat = Beat(phases, parent.notifier, {"WATCHDOG_USEC": "40000"})
    beat.start()
    parent.hear()
    overdue.set()
    while (said := parent.hear()) == "WATCHDOG=1\nX_EARSHOT_PHASE=transcribing":
        pass
    assert said == parent.hear() == "WATCHDOG=trigger\nX_EARSHOT_PHASE=transcribing"
    beat.end()
    beat.join()
    stacks = capfd.readouterr().err
    assert stacks.count("phase 'transcribing' overstayed its deadline") == 1
    assert "test_liveness.py" in stacks


def test_without_a_parent_nobody_is_told() -> None:
    assert not Notifier({}).tell(READY="1")


def test_a_parent_that_is_gone_does_not_hurt(tmp_path: Path) -> None:
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell(READY="1")


def test_a_value_cannot_smuggle_in_another_line(parent: Parent) -> None:
    parent.notifier.tell(STATUS="one\nREADY=1")
    assert parent.hear() == "STATUS=one READY=1"


def test_what_a_full_queue_does_not_take_goes_along_with_the_next_word(parent: Parent) -> None:
    sent = 0
    while parent.notifier.tell(WATCHDOG="1"):
        sent += 1
    assert not parent.notifier.tell(READY="1", WATCHDOG="1")
    assert not parent.notifier.tell(STATUS="well")
    for _ in range(sent):
        assert parent.hear() == "WATCHDOG=1"
    assert parent.notifier.tell(WATCHDOG="1")
    assert parent.hear() == "READY=1\nSTATUS=well\nWATCHDOG=1"


def test_an_abstract_socket_is_understood() -> None:
    name = f"earshot-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(DEADLINE_S)
        assert Notifier({"NOTIFY_SOCKET": "@" + name}).tell(READY="1")
        assert listener.recv(100) == b"READY=1"
