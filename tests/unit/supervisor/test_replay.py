"""The assistant of a replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bus.addresses import Addresses
from supervisor.replay import half_duplex_stream, private_settings


def test_a_replay_listens_at_no_address_of_the_assistant_that_was_recorded(tmp_path: Path) -> None:
    recorded = {
        "metrics": {"port": 9100},
        "network": {"listen": "127.0.0.1:7700"},
        "rehearsal_llm": {"enabled": True, "port": 8001},
    }
    place = Addresses(tmp_path / "run", tmp_path / "state")
    sound = tmp_path / "0.wav"
    sound.touch()
    found = private_settings(place, sound, "mic", "fast", recorded, sets=["metrics.port=9200"])
    assert (found.metrics.port, found.network.listen, found.rehearsal_llm.port) == (0, "", 0)
    assert (found.instance.runtime_dir, found.instance.state_dir) == (str(place.runtime_dir), str(place.state_dir))


@pytest.mark.parametrize("pace", ["real", "fast"])
def test_a_replay_is_not_heard_and_writes_into_no_file_of_the_users(pace: str, tmp_path: Path) -> None:
    recorded = {"tts": {"engine": "espeak"}, "speaker": {"output": "file", "file": str(tmp_path / "said.wav")}}
    sound = tmp_path / "0.wav"
    sound.touch()
    found = private_settings(Addresses(tmp_path / "run", tmp_path / "state"), sound, "mic", pace, recorded)
    assert (found.tts.engine, found.speaker.output, found.speaker.pace) == ("espeak", "none", pace)


@pytest.mark.parametrize(
    ("recorded", "stream"),
    [
        ({}, "mic"),
        ({"mic": {"source": "stdin", "stream": "den"}}, "den"),
        ({"speaker": {"duplex": "full"}}, ""),
        ({"mic": {"source": "file"}}, ""),
        ({"tts": {"engine": "none"}}, ""),
        ({"of": "another version"}, ""),
    ],
)
def test_which_stream_was_not_heard_while_the_voice_sounded_is_known_by_the_recorded_configuration(
    recorded: dict[str, Any], stream: str
) -> None:
    assert half_duplex_stream(recorded) == stream
