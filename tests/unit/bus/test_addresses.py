"""Locks: one holder, whatever the others do to the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bus import addresses as module
from bus.addresses import Lock, is_locked
from bus.errors import InstanceRunning


def test_a_lock_whose_file_is_removed_while_another_waits_for_it_still_has_one_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second opens the file, the first then removes it and lets go: what the second has locked has no name any more."""
    path = tmp_path / "mic.lock"
    first = Lock(path, "taken")
    real = module._try_lock

    def first_leaves_now(fd: int, tries: int = 20) -> bool:
        monkeypatch.setattr(module, "_try_lock", real)
        first.remove()
        return real(fd, tries)

    monkeypatch.setattr(module, "_try_lock", first_leaves_now)
    second = Lock(path, "taken")
    assert path.read_text() == str(os.getpid())
    assert is_locked(path)
    with pytest.raises(InstanceRunning, match="taken"):
        Lock(path, "taken")
    second.release()


def test_a_lock_that_is_removed_leaves_no_file_and_can_be_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "mic.lock"
    Lock(path, "taken").remove()
    assert not path.exists()
    Lock(path, "taken").release()
    assert path.exists()
