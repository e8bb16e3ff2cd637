"""The beat stops when a phase overstays, and only then."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.liveness import HANDLING_S, LOADING_S, Beat, Phases
from bus.notify import Notifier


class Parent:
    """The receiving end of $NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(10)
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


def test_a_process_begins_in_the_phase_loading() -> None:
    phases = Phases(lambda: 0)
    assert phases.name == "loading"
    assert phases.overstayed_s() == -LOADING_S


def test_after_a_phase_within_a_phase_the_outer_one_begins_anew() -> None:
    now = [0]
    phases = Phases(lambda: now[0])
    phases.enter("handling", HANDLING_S)
    with phases.during("transcribing", 60.0):
        now[0] = 30_000_000_000
        assert phases.name == "transcribing"
        assert phases.overstayed_s() < 0
    assert phases.name == "handling"
    assert phases.overstayed_s() == pytest.approx(-HANDLING_S)


def test_the_beat_tells_the_parent_the_phase(parent: Parent) -> None:
    phases = Phases()
    phases.enter("idle", 100)
    beat = Beat(phases, parent.notifier, {"WATCHDOG_USEC": "40000"})
    beat.start()
    assert parent.hear() == "WATCHDOG=1\nX_EARSHOT_PHASE=idle"
    beat.end()
    beat.join()


def test_the_beat_stops_and_the_stacks_are_written_when_a_phase_overstays(parent: Parent, capfd: pytest.CaptureFixture[str]) -> None:
    overdue = threading.Event()
    phases = Phases(lambda: 10_000_000_000 if overdue.is_set() else 0)
    phases.enter("transcribing", 5)
    beat = Beat(phases, parent.notifier, {"WATCHDOG_USEC": "40000"})
    beat.start()
    parent.hear()
    overdue.set()
    parent.socket.settimeout(1.0)
    with pytest.raises(TimeoutError):
        while True:
            parent.hear()
    beat.end()
    beat.join()
    stacks = capfd.readouterr().err
    assert "phase 'transcribing' overstayed its deadline" in stacks
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
        listener.settimeout(10)
        assert Notifier({"NOTIFY_SOCKET": "@" + name}).tell(READY="1")
        assert listener.recv(100) == b"READY=1"
