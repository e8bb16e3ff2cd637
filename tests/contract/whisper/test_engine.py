"""The real faster-whisper with the rehearsal model, on real sound."""

from __future__ import annotations

import json
import random
import re
import struct
from pathlib import Path

import pytest
import soundfile

from actors.whisper.engine import Engine, find_model
from bus.errors import SetupError
from bus.settings import WhisperSettings

ASSETS = Path(__file__).parents[3] / "assets"
MODEL = ASSETS / "rehearsal-whisper"
SAMPLES = json.loads((ASSETS / "speech" / "transcripts.json").read_text())["files"]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(str(MODEL), WhisperSettings(), threads=2)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: str(sample["file"]))
def test_a_spoken_sentence_is_heard_word_for_word(engine: Engine, sample: dict[str, str]) -> None:
    pcm, rate = soundfile.read(ASSETS / "speech" / sample["file"], dtype="int16")
    assert rate == 16_000
    text = " ".join(segment.text for segment in engine.transcribe(pcm.tobytes()))
    assert re.findall(r"[a-z']+", text.lower()) == sample["text"].split()
    assert engine.look(pcm.tobytes()).voice_prob > 0.8


@pytest.mark.parametrize("loudness", [10, 300, 3000])
def test_no_voice_is_found_in_noise(engine: Engine, loudness: int) -> None:
    noise = random.Random(loudness)
    pcm = b"".join(struct.pack("<h", round(max(-32768, min(32767, noise.gauss(0, loudness))))) for _ in range(32_000))
    assert engine.look(pcm).voice_prob < 0.15


def test_digital_silence_is_as_quiet_as_the_scale_goes(engine: Engine) -> None:
    sound = engine.look(bytes(32_000))
    assert sound.rms_dbfs < -90
    assert sound.voice_prob < 0.15


def test_looking_at_sound_does_not_change_what_is_heard(engine: Engine) -> None:
    pcm = soundfile.read(ASSETS / "speech" / "sum-rms.wav", dtype="int16")[0].tobytes()
    before = engine.transcribe(pcm)
    engine.look(pcm)
    assert engine.transcribe(pcm) == before


def test_a_fragment_shorter_than_a_frame_is_nothing_and_no_error(engine: Engine) -> None:
    assert engine.look(b"\x01\x00" * 10).rms_dbfs < -90


def test_a_directory_without_a_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"no Whisper model in .*: model.bin, config.json, tokenizer.json missing; set whisper.model"):
        find_model(str(tmp_path), download=False)


def test_a_directory_that_is_not_there_is_told_so() -> None:
    with pytest.raises(SetupError, match="there is no directory /no/such"):
        find_model("/no/such", download=False)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SetupError, match=r"no Whisper model named 'medum.en'; names: .*medium.en"):
        find_model("medum.en", download=False)


def test_a_model_that_is_not_here_is_not_fetched_when_that_is_forbidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SetupError, match=r"no model 'medium.en' on this machine, and whisper.download is false"):
        find_model("medium.en", download=False)


def test_a_damaged_model_is_told_with_advice(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "vocabulary.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((MODEL / name).read_bytes())
    (tmp_path / "model.bin").write_bytes((MODEL / "model.bin").read_bytes()[:5000])
    with pytest.raises(SetupError, match=r"cannot load the Whisper model in .*; set whisper.model"):
        Engine(str(tmp_path), WhisperSettings(), threads=1)


def test_a_language_that_the_model_does_not_know_is_told_with_advice() -> None:
    with pytest.raises(SetupError, match=r"does not know the language 'de', but English only; set whisper.language"):
        Engine(str(MODEL), WhisperSettings(language="de"), threads=1)


def test_an_utterance_without_any_sound_is_silence(engine: Engine) -> None:
    assert engine.look(b"").voice_prob < 0.5
