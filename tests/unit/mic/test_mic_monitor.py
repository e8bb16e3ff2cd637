"""What `pactl` says is read right, and whatever it does, nobody is held up."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from actors.mic.monitor import MonitorWatch, monitor_of
from tests.waiting import wait_until

SOURCES = [
    {"index": 0, "description": "USB Headset", "properties": {"device.class": "sound"}},
    {"index": 7, "description": "Monitor of Speakers", "properties": {"device.class": "monitor"}},
    {"index": 8, "description": "Room", "properties": {}},
]


def listed(*outputs: tuple[int, int]) -> dict[str, Any]:
    """Streams of these processes that record these sources."""
    streams = [{"index": 4, "source": source, "properties": {"application.process.id": str(pid)}} for pid, source in outputs]
    return {"sources": SOURCES, "source_outputs": [{"index": 1, "source": 7, "properties": {}}, *streams]}


@pytest.mark.parametrize(
    ("outputs", "monitor"),
    [
        ([(12, 7)], "Monitor of Speakers"),
        ([(12, 0)], ""),
        ([(12, 8)], ""),
        ([(12, 99)], ""),
        ([(13, 7)], ""),
        ([(12, 0), (13, 7)], ""),
        ([(12, 0), (12, 7)], "Monitor of Speakers"),
        ([], ""),
    ],
)
def test_only_a_monitor_that_this_process_records_counts(outputs: list[tuple[int, int]], monitor: str) -> None:
    assert monitor_of(listed(*outputs), 12) == monitor


@pytest.fixture
def pactl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands before the real one. It says what the file beside it holds, and that something has changed as soon as `changed` is there."""
    program = tmp_path / "pactl"
    program.write_text(
        f"#!/bin/sh\ncd {tmp_path}\nif [ $1 = subscribe ]; then until [ -e changed ]; do sleep 0.02; done;"
        " echo \"Event 'change' on source-output #4\"; exec sleep 60; fi\nexec cat said\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("PULSE_SOURCE", raising=False)
    return program


def test_the_server_is_asked_at_the_beginning_and_after_each_change(pactl: Path) -> None:
    said = pactl.with_name("said")
    said.write_text(json.dumps(listed((os.getpid(), 7))))
    watch = MonitorWatch()
    watch.begin("pulse")
    wait_until(lambda: watch.monitor == "Monitor of Speakers")
    said.write_text(json.dumps(listed((os.getpid(), 0))))
    pactl.with_name("changed").touch()
    wait_until(lambda: watch.monitor == "")
    watch.end()


def test_a_stream_that_is_gone_hears_no_monitor(pactl: Path) -> None:
    pactl.with_name("said").write_text(json.dumps(listed((os.getpid(), 7))))
    watch = MonitorWatch()
    watch.begin("pulse")
    wait_until(lambda: watch.monitor)
    watch.end()
    assert watch.monitor == ""


@pytest.mark.parametrize("said", ["", "no json", "[]", '{"sources": []}', '{"sources": [{}], "source_outputs": []}'])
def test_from_a_tool_that_says_something_else_nothing_is_known(pactl: Path, said: str, recwarn: pytest.WarningsRecorder) -> None:
    pactl.with_name("said").write_text(json.dumps(listed((os.getpid(), 7))))
    watch = MonitorWatch()
    watch.begin("pulse")
    wait_until(lambda: watch.monitor)
    pactl.with_name("said").write_text(said)
    pactl.with_name("changed").touch()
    wait_until(lambda: not watch.monitor)
    watch.end()
    assert not recwarn.list, "no thread ends in an exception"


def test_who_wants_a_monitor_gets_it(pactl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULSE_SOURCE", "spk.monitor")
    pactl.write_text("#!/bin/sh\ntouch $(dirname $0)/asked\n")
    watch = MonitorWatch()
    watch.begin("pulse")
    watch.end()
    assert not pactl.with_name("asked").exists()
