"""The parent's side of sd_notify, with real sockets and real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bus.notify import Notifier
from supervisor.notify import MAX_DATAGRAMS_AT_ONCE, NotifySocket, parse


def test_lines_become_values_and_what_is_no_line_is_passed_over() -> None:
    assert parse(b"READY=1\nSTATUS=a=b\nnonsense\n=x\n\xff=1\n") == {"READY": "1", "STATUS": "a=b", "\ufffd": "1"}


@pytest.mark.parametrize("kind", ["file", "abstract"])
def test_what_a_process_says_arrives_with_its_process_id(tmp_path: Path, kind: str) -> None:
    address = str(tmp_path / "notify") if kind == "file" else f"@earshot-test-{os.getpid()}"
    socket = NotifySocket(address)
    Notifier({"NOTIFY_SOCKET": address}).tell(READY="1", STATUS="two\nlines")
    assert [(notice.pid, notice.values) for notice in socket.receive()] == [(os.getpid(), {"READY": "1", "STATUS": "two lines"})]
    socket.close()


def test_a_child_cannot_speak_for_its_parent(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    socket = NotifySocket(address)
    program = "from bus.notify import Notifier; Notifier().tell(READY='1')"
    child = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "NOTIFY_SOCKET": address})
    child.wait()
    assert [notice.pid for notice in socket.receive()] == [child.pid]
    socket.close()


def test_a_flood_is_read_in_portions(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    socket = NotifySocket(address)
    notifier = Notifier({"NOTIFY_SOCKET": address})
    sent = sum(notifier.tell(WATCHDOG="1") for _ in range(MAX_DATAGRAMS_AT_ONCE * 2))
    assert 0 < len(list(socket.receive())) == min(sent, MAX_DATAGRAMS_AT_ONCE)
    socket.close()


def test_a_socket_file_that_was_left_behind_is_no_hindrance(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    left_behind = NotifySocket(address)
    NotifySocket(address).close()
    assert not Path(address).exists()
    left_behind.close()
