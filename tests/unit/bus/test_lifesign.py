"""What a killed source leaves to its successor."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bus import lifesign
from bus.lifesign import Death, LifeSign


def test_a_successor_knows_how_far_a_killed_source_had_come(tmp_path: Path) -> None:
    first = LifeSign(tmp_path / "life", "aaaaaaaa")
    assert first.predecessor is None
    first.note(480, 1_000)
    first.note(960, 2_000)
    assert LifeSign(tmp_path / "life", "bbbbbbbb").predecessor == Death("aaaaaaaa", 960, 2_000)


def test_a_successor_that_dies_before_its_first_frame_hides_nothing(tmp_path: Path) -> None:
    LifeSign(tmp_path / "life", "aaaaaaaa").note(480, 1_000)
    LifeSign(tmp_path / "life", "bbbbbbbb")
    third = LifeSign(tmp_path / "life", "cccccccc")
    assert third.predecessor == Death("aaaaaaaa", 480, 1_000)
    third.note(480, 5_000)
    assert LifeSign(tmp_path / "life", "dddddddd").predecessor == Death("cccccccc", 480, 5_000)


def test_a_source_that_ends_as_it_should_leaves_nothing(tmp_path: Path) -> None:
    first = LifeSign(tmp_path / "life", "aaaaaaaa")
    first.note(480, 1_000)
    first.remove()
    assert LifeSign(tmp_path / "life", "bbbbbbbb").predecessor is None


def test_what_an_earlier_boot_of_the_machine_left_means_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LifeSign(tmp_path / "life", "aaaaaaaa").note(480, 1_000)
    monkeypatch.setattr(lifesign, "_boot_id", lambda: b"another".ljust(36, b"-"))
    assert LifeSign(tmp_path / "life", "bbbbbbbb").predecessor is None


def test_where_it_cannot_be_written_the_source_does_without(tmp_path: Path) -> None:
    sign = LifeSign(tmp_path / "no such directory" / "life", "aaaaaaaa")
    sign.note(480, 1_000)
    sign.remove()


@given(st.binary(max_size=100))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_the_file_the_source_begins(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "life").write_bytes(data)
    sign = LifeSign(tmp_path / "life", "aaaaaaaa")
    assert sign.predecessor is None
    sign.note(480, 1_000)
    sign.remove()
