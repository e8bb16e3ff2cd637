"""The crashes that are kept: their order, what is shown of them, and who writes them down."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bus.addresses import Addresses
from supervisor import crashes
from supervisor.crashes import Crash
from supervisor.undertaker import AT_ONCE, Undertaker
from supervisor.views.crash import text
from tests.waiting import wait_until

CRASH = Crash(actor="llm", incarnation="1", how="exit 1", reason="", phase="", up_s=1.0, wall_ns=1_700_000_000_000_000_000)


def keep(addresses: Addresses, name: str, crash: Crash) -> Path:
    place = addresses.crashes_dir / name
    place.mkdir(parents=True)
    (place / "summary.json").write_text(json.dumps(asdict(crash)))
    return place


def test_crashes_are_in_the_order_in_which_they_happened_whatever_their_names(tmp_path: Path) -> None:
    addresses = Addresses(tmp_path, tmp_path)
    keep(addresses, "b", CRASH)
    keep(addresses, "a", replace(CRASH, wall_ns=CRASH.wall_ns + 1))
    assert [name for name, _ in crashes.crashes(addresses)] == ["b", "a"]
    assert crashes.find(addresses, "last")[0].name == "a"


def test_a_crash_is_named_by_a_time_that_goes_on_when_summer_time_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crashes, "FLUSHED_AFTER_S", 0.0)
    place = crashes.write(Addresses(tmp_path, tmp_path), CRASH)
    assert place.name == "20231114-221320Z-llm-1"


def test_a_crash_is_to_be_replayed_only_when_its_job_was_kept(tmp_path: Path) -> None:
    place = keep(Addresses(tmp_path, tmp_path), "a", CRASH)
    assert "crashes replay" not in text(place, CRASH)
    (place / "job.msgpack").write_bytes(b"")
    assert "crashes replay" in text(place, CRASH)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def undertaker(tmp_path: Path, told: list[str]) -> Undertaker:
    addresses = Addresses(tmp_path / "run", tmp_path / "state")
    addresses.prepare()
    return Undertaker(addresses, os.environ, tmp_path / "log", told.append, active=True)


def write_down(undertaker: Undertaker, actor: str) -> None:
    undertaker.write_down(actor=actor, incarnation="1", how="exit 1", reason="", phase="", up_s=1.0)


def test_a_crash_that_is_not_kept_is_told(undertaker: Undertaker, told: list[str]) -> None:
    for number in range(AT_ONCE):
        write_down(undertaker, f"whisper-{number}")
    assert told == []
    write_down(undertaker, "llm")
    assert told == ["the crash of llm is not kept: 2 are being written"]
    undertaker.close()


def test_a_writer_that_is_through_is_reaped_without_another_crash(undertaker: Undertaker) -> None:
    before = children()
    write_down(undertaker, "llm")
    (child,) = children() - before
    wait_until(lambda: state_of(child) == "Z")
    undertaker.reap()
    assert child not in children()
    undertaker.close()


def children() -> set[int]:
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
