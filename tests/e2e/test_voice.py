"""The whole assistant with a voice: what it is asked it answers aloud, whoever dies in the middle, and it can be made to say anything."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import soundfile

from tests.e2e.assistant import PATIENT, SPEECH, assert_adds_up, assistant, lines

JOKE = SPEECH / "joke-slt.wav"


def options(file: Path) -> tuple[str, ...]:
    return 'tts.engine="espeak"', 'speaker.output="file"', f"speaker.file={file}", PATIENT


def seconds(file: Path) -> float:
    sound, rate_hz = soundfile.read(file, dtype="int16")
    return len(sound) / float(rate_hz)


def test_an_answer_is_spoken_and_its_times_tell_when(tmp_path: Path) -> None:
    file = tmp_path / "said.wav"
    with assistant(*options(file)) as running:
        (turn,) = running.hear(JOKE)
        assert turn["state"] == "answered"
        timings = turn["timings_ms"]
        spoken_s = (timings["speak"] + timings.get("generate", 0)) / 1000
        assert seconds(file) - 1.0 < spoken_s < 10 * seconds(file)  # on a busy machine there are pauses between the clauses
        (shown,) = lines(running.run("turns", "--json", "--last", "1").stdout)
        assert_adds_up(shown)
        before_s = seconds(file)
        running.run("say", "And now something else entirely.")
        assert seconds(file) > before_s + 1
        logs = b"".join(path.read_bytes() for path in running.addresses.logs_dir.iterdir()).lower()
        assert b"something else" not in logs
        assert b"microphone go to school" not in logs


@pytest.mark.parametrize("victim", ["tts", "speaker"])
def test_an_answer_is_heard_to_its_end_although_one_of_the_two_is_killed(victim: str, tmp_path: Path) -> None:
    file = tmp_path / "said.wav"
    with assistant(*options(file)) as running:
        (whole,) = running.hear(JOKE)
        whole_s = seconds(file)
        heard: list[dict[str, object]] = []
        asking = threading.Thread(target=lambda: heard.extend(running.hear(SPEECH / "joke-slt.wav")))
        asking.start()
        running.wait_until(lambda: seconds(file) > whole_s + 1.0)
        pid = running.kill(victim)
        asking.join()
        running.wait_until_ready(victim, but_not_pid=pid)
        (turn,) = heard
        assert turn["state"] == "answered"
        per_character_s = whole_s / len(str(whole["reply"]))
        assert seconds(file) - whole_s == pytest.approx(per_character_s * len(str(turn["reply"])), rel=0.35)
        assert running.status()[victim]["restarts"] == 1


def test_without_a_voice_saying_something_is_an_error_that_says_so() -> None:
    with assistant() as running:
        done = running.run("say", "Hello.", check=False)
        assert done.returncode != 0
        assert 'tts.engine is "none"' in done.stderr


def test_of_words_that_could_not_be_said_the_reason_is_told(tmp_path: Path) -> None:
    file = tmp_path / "said.wav"
    file.write_text("no sound at all, but something of the user's")
    with assistant(*options(file)) as running:
        done = running.run("say", "Hello.", check=False)
        assert done.returncode != 0
        assert f"{file} is no WAV file" in done.stderr
    assert file.read_text().endswith("the user's")
