"""What faster-whisper really gives to the encoder, and what comes of it.

The short window hangs on two habits of faster-whisper: it pads features with zeros to 30 s, and it has them encoded by its method
`encode`. An upgrade that gives up either of them fails here.
"""

from __future__ import annotations

import copy
import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from actors.whisper.engine import TEMPERATURES, Engine
from actors.whisper.guards import Segment
from actors.whisper.window import FULL_FRAMES
from bench.window import quiet
from bus.settings import WhisperSettings

ASSETS = Path(__file__).parents[3] / "assets"
MODEL = str(ASSETS / "rehearsal-whisper")
SAMPLES = json.loads((ASSETS / "speech" / "transcripts.json").read_text())["files"]
TEXTS = {told["file"]: told["text"].split() for told in SAMPLES}
CHANGED = "faster-whisper no longer pads to 30 s, or no longer encodes by its method `encode`: see WindowedWhisper"


class Ear:
    """Sits between faster-whisper and CTranslate2: writes down how many frames each encoding gets, and may say what is heard."""

    def __init__(self, engine: Engine) -> None:
        self._model = engine._model.model
        self.encoded: list[int] = []
        self.answers: list[object] = []
        engine._model.model = self

    def encode(self, features: Any, **options: object) -> object:
        self.encoded.append(features.shape[-1])
        return self._model.encode(features, **options)

    def generate(self, *what: object, **options: object) -> object:
        return [self.answers.pop(0)] if self.answers else self._model.generate(*what, **options)

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)


def an_engine(**settings: Any) -> Engine:
    return Engine(MODEL, WhisperSettings(**{"window": "auto", **settings}), threads=1)


def samples(name: str) -> np.ndarray:
    found: np.ndarray = soundfile.read(ASSETS / "speech" / name, dtype="int16")[0]
    return found


def with_silence(name: str, seconds: float) -> bytes:
    """The sample, and so much of nothing after it."""
    return samples(name).tobytes() + bytes(2 * round(16_000 * seconds))


def words(segments: list[Segment]) -> list[str]:
    return re.findall(r"[a-z']+", " ".join(segment.text for segment in segments).lower())


@pytest.fixture(scope="module")
def auto() -> Engine:
    return an_engine()


@pytest.mark.parametrize("name", TEXTS)
def test_a_sentence_is_heard_word_for_word_in_a_short_window(auto: Engine, name: str) -> None:
    assert words(auto.transcribe(samples(name).tobytes())) == TEXTS[name]


def test_a_short_utterance_is_encoded_once_and_in_ten_seconds() -> None:
    engine = an_engine()
    ear = Ear(engine)
    engine.transcribe(samples("sum-rms.wav").tobytes())
    assert ear.encoded == [1000], CHANGED


@pytest.mark.parametrize(("silence_s", "frames"), [(6.0, 1500), (12.0, 2000), (16.0, 3000)])
def test_a_longer_utterance_gets_a_longer_window(silence_s: float, frames: int) -> None:
    engine = an_engine()
    ear = Ear(engine)
    assert words(engine.transcribe(with_silence("joke-slt.wav", silence_s))) == TEXTS["joke-slt.wav"]
    assert ear.encoded[0] == frames, CHANGED


def test_the_full_window_is_always_thirty_seconds() -> None:
    engine = an_engine(window="full")
    ear = Ear(engine)
    assert words(engine.transcribe(samples("sum-rms.wav").tobytes())) == TEXTS["sum-rms.wav"]
    assert ear.encoded == [FULL_FRAMES]


def test_what_is_in_doubt_is_heard_again_in_the_full_window() -> None:
    engine = an_engine(log_prob_threshold=-0.001)  # no model is so sure of anything
    ear = Ear(engine)
    assert words(engine.transcribe(samples("sum-rms.wav").tobytes())) == TEXTS["sum-rms.wav"]
    assert ear.encoded == [1000, FULL_FRAMES], CHANGED


def test_no_words_are_looked_for_again_in_the_full_window() -> None:
    engine = an_engine()
    ear = Ear(engine)
    assert engine.transcribe(bytes(2 * 16_000)) == []
    assert ear.encoded == [1000, FULL_FRAMES], CHANGED


def test_a_quick_hearing_is_one_in_the_short_window_whatever_comes_of_it() -> None:
    engine = an_engine(log_prob_threshold=-0.001)
    ear = Ear(engine)
    assert words(engine.transcribe(samples("sum-rms.wav").tobytes(), quick=True)) == TEXTS["sum-rms.wav"]
    assert ear.encoded == [1000], CHANGED


def test_a_segment_is_at_the_same_time_in_either_window(auto: Engine) -> None:
    sound = samples("light-awb.wav").astype(np.float32) / 32768
    times = []
    for frames in (1000, FULL_FRAMES):
        model = copy.copy(auto._model)
        model.window_frames = frames
        (found,) = model.transcribe(sound, language="en")[0]
        times.append((found.start, found.end))
    assert times[0] == pytest.approx(times[1], abs=0.1)


def test_what_is_left_after_the_first_segment_is_heard_in_the_same_window_and_its_times_go_on() -> None:
    engine = an_engine()
    first, second = samples("sum-rms.wav"), samples("light-awb.wav")
    sound = np.concatenate([first, second]).astype(np.float32) / 32768
    begin = engine._model.hf_tokenizer.token_to_id("<|0.00|>")
    end = begin + len(first) // 320  # positions of 20 ms
    text = engine._model.hf_tokenizer.encode(" What is two plus three?", add_special_tokens=False).ids
    ear = Ear(engine)
    ear.answers = [SimpleNamespace(sequences_ids=[[begin, *text, end, end]], scores=[-0.1], no_speech_prob=0.0)]
    model = copy.copy(engine._model)
    model.window_frames = 1000
    found = list(model.transcribe(sound, language="en")[0])
    assert [segment.text for segment in found] == [" What is two plus three?", " Turn off the bedroom light."]
    assert ear.encoded == [1000, 1000], CHANGED
    first_s = len(first) / 16_000
    assert found[1].start == pytest.approx(first_s, abs=0.6)  # 0.52 s of it are quiet
    assert found[1].end == pytest.approx(first_s + 2.29, abs=0.2)


def test_utterances_of_several_threads_have_each_their_own_window() -> None:
    engine = Engine(MODEL, WhisperSettings(window="auto"), threads=1, workers=2)
    ear = Ear(engine)
    sounds = [samples("sum-rms.wav").tobytes(), with_silence("sum-rms.wav", 6.0)] * 6
    with ThreadPoolExecutor(2) as pool:
        heard = list(pool.map(engine.transcribe, sounds))
    assert [words(segments) for segments in heard] == [TEXTS["sum-rms.wav"]] * 12
    assert ear.encoded.count(1000) == 6, CHANGED
    assert ear.encoded.count(1500) == 6, CHANGED


def test_nothing_is_invented_in_a_short_window_where_nobody_speaks(auto: Engine) -> None:
    for clip in quiet(random.Random(5), np.random.default_rng(5)):
        sound = np.frombuffer(clip.pcm, np.int16).astype(np.float32) / 32768
        assert words(auto.decode(sound, 1000, TEMPERATURES)) == []
