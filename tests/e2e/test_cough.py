"""A short sound into an answer, with a real microphone: the voice is silent for a moment and goes on, unless the word was "stop"."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile

from actors.speaker.playout import AGAIN_S, FADE_S
from bus.limits import SAMPLE_BYTES
from tests.e2e.assistant import PATIENT, Assistant, assistant, words
from tests.e2e.test_duplex import next_turn, spoken
from tests.fakes.virtual_microphone import VirtualMicrophone, virtual_microphone
from tests.fakes.voice_server import RATE_HZ, VoiceServer, sound_of

FADE_BYTES = round(FADE_S * RATE_HZ) * SAMPLE_BYTES
AGAIN_BYTES = round(AGAIN_S[0] * RATE_HZ) * SAMPLE_BYTES + FADE_BYTES


def played(file: Path) -> bytes:
    return bytes(soundfile.read(file, dtype="int16")[0].tobytes())


@contextmanager
def room(file: Path) -> Iterator[tuple[VirtualMicrophone, VoiceServer, Assistant]]:
    """A microphone, a slow voice, and an assistant in full duplex that plays it into `file`. It is not quieter when somebody may be about
    to speak, so that what was played can be compared."""
    listens = ("mic.source=device", "mic.device=pulse", "speaker.duplex=full", "speaker.duck=1.0", f"speaker.file={file}")
    with (
        tempfile.TemporaryDirectory(prefix="ear") as directory,
        virtual_microphone(Path(directory)) as audio,
        VoiceServer().running() as voice,
        assistant(PATIENT, *listens, "tts.engine=openai", "tts.model=m", f"tts.url={voice.url}", "speaker.output=file") as running,
    ):
        yield audio, voice, running


def test_a_short_sound_silences_an_answer_for_a_moment_and_stop_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the loudspeaker has played is compared sample for sample; where it fell silent and went on it is faded."""
    monkeypatch.setattr("tests.fakes.voice_server.SAMPLES_PER_CHAR", 2_500)  # a slow speaker: there is time to cough
    file = tmp_path / "said.wav"
    with room(file) as (audio, voice, running), running.events("speech.", "voice.", "turn.finished") as events:
        audio.say(spoken("joke-slt.wav"))
        events.wait_for("voice.started")
        audio.say(spoken("yes-too-short.wav"))
        events.wait_for("speech.confirmed")
        whole = next_turn(events)
        said = b"".join(sound_of(asked["input"]) for asked in voice.asked)
        heard = played(file)
        assert (whole.state, whole.detail) == ("answered", "")
        assert words(whole.reply) == words(" ".join(asked["input"] for asked in voice.asked))
        silent = next(at for at in range(0, len(said), 2) if heard[at : at + 2] != said[at : at + 2])
        again = len(heard) - len(said)
        assert 0 < again <= AGAIN_BYTES
        assert heard[silent + 2 * FADE_BYTES :] == said[silent + 2 * FADE_BYTES - again :]

        voice.asked.clear()
        audio.say(spoken("joke-slt.wav"))
        events.wait_for("voice.started")
        audio.say(spoken("stop-kal16.wav"))
        cut = next_turn(events)
        said = b"".join(sound_of(asked["input"]) for asked in voice.asked)
        heard = played(file)[len(heard) :]
        assert "interrupted" in cut.detail
        assert len(heard) < len(said) - RATE_HZ
        assert heard[: -2 * FADE_BYTES] == said[: len(heard) - 2 * FADE_BYTES], "nothing was played again: it did not go on"


def test_an_answer_that_is_held_is_heard_to_its_end_although_one_of_the_two_is_killed_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fakes.voice_server.SAMPLES_PER_CHAR", 2_500)
    file = tmp_path / "said.wav"
    with room(file) as (audio, voice, running), running.events("speech.", "voice.", "turn.finished") as events:
        before = 0
        for victim in ("tts", "speaker"):
            voice.asked.clear()
            audio.say(spoken("joke-slt.wav"))
            events.wait_for("voice.started")
            audio.say(spoken("yes-too-short.wav"))
            events.wait_for("speech.confirmed")
            running.kill(victim)
            turn = next_turn(events)
            heard = played(file)[before:]
            before += len(heard)
            assert (turn.state, turn.detail) == ("answered", "")
            said = b"".join(sound_of(text) for text in dict.fromkeys(asked["input"] for asked in voice.asked))
            assert 0 <= len(heard) - len(said) <= AGAIN_BYTES
            assert heard.endswith(said[-len(said) // 4 // 2 * 2 :])
            assert running.status()[victim]["restarts"] == 1
