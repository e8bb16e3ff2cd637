"""Where a replay keeps what it hears."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bus.addresses import Addresses
from bus.flight import forget_flight
from bus.replays import own_place

VOICE = b"voice" * 100
KILLED = """
import sys
from pathlib import Path
from bus.replays import own_place
with own_place(Path(sys.argv[1])) as place:
    (place.state_dir / "flight").mkdir()
    (place.state_dir / "flight" / "0.wav").write_bytes(b"voice" * 100)
    print(place.runtime_dir, flush=True)
    sys.stdin.read()
"""


def left_behind(state_dir: Path) -> Path:
    """What a replay leaves that was killed: the file with the sound."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(state_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    runtime_dir = Path(process.stdout.readline().decode().strip())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not any(runtime_dir.iterdir()), "no sound lies where it cannot be found again"
    runtime_dir.rmdir()
    (sound,) = (state_dir / "replays").glob("*/flight/0.wav")
    return sound


def test_a_place_is_private_and_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    with own_place(tmp_path) as place:
        assert place.state_dir.is_relative_to(tmp_path)
        assert place.state_dir.stat().st_mode & 0o077 == 0
        (place.state_dir / "0.wav").write_bytes(VOICE)
    assert not any((tmp_path / "replays").iterdir())
    assert not place.runtime_dir.exists()


def test_the_next_replay_removes_what_a_killed_one_left_and_leaves_a_living_one_alone(tmp_path: Path) -> None:
    sound = left_behind(tmp_path)
    with own_place(tmp_path) as first:
        assert not sound.exists()
        with own_place(tmp_path) as second:
            assert first.state_dir.is_dir()
            assert first.state_dir != second.state_dir
    assert not any((tmp_path / "replays").iterdir())


def test_forgetting_overwrites_what_a_killed_replay_left(tmp_path: Path) -> None:
    sound = left_behind(tmp_path)
    with sound.open("rb") as still_open:
        forget_flight(Addresses(tmp_path, tmp_path))
        assert still_open.read() == bytes(len(VOICE))
    assert not any((tmp_path / "replays").iterdir())


def test_a_file_that_the_recorder_removes_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flight = tmp_path / "flight"
    flight.mkdir()
    (flight / "flight-1.mcap").write_bytes(VOICE)
    gone = flight / "flight-0.mcap"
    monkeypatch.setattr("bus.flight.flight_files", lambda _directory: [gone, flight / "flight-1.mcap"])
    forget_flight(Addresses(tmp_path, tmp_path))
    assert not any(flight.iterdir())
