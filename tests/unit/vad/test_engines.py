"""The engines on human speech, on noise, and where their parts are missing."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest

from actors.vad import silero
from actors.vad.engines import EngineError, open_engine
from actors.vad.segmenter import Segment, Segmenter, SegmenterConfig
from bus.limits import FRAME_MS
from tests.fakes.audio_speech import JFK_SPEECH_S, frames, jfk_pcm, noise

ALL = [("webrtc", 0), ("webrtc", 1), ("webrtc", 2), ("webrtc", 3), ("silero", 3)]


def share_of_speech(verdicts: list[bool], begin_s: float, end_s: float) -> float:
    piece = verdicts[round(begin_s * 1000 / FRAME_MS) : round(end_s * 1000 / FRAME_MS)]
    return sum(piece) / len(piece)


@pytest.mark.parametrize(("name", "mode"), ALL)
def test_speech_is_heard_as_speech(name: str, mode: int) -> None:
    engine = open_engine(name, mode)
    verdicts = [engine.is_speech(frame) for frame in frames(jfk_pcm())]
    for begin_s, end_s in JFK_SPEECH_S:
        assert share_of_speech(verdicts, begin_s, end_s) > 0.6


@pytest.mark.parametrize(("name", "mode"), ALL)
def test_silence_is_not_speech(name: str, mode: int) -> None:
    engine = open_engine(name, mode)
    assert not any(engine.is_speech(frame) for frame in frames(bytes(2 * 16_000 * 5)))


@pytest.mark.parametrize("level", [0.0003, 0.001, 0.003, 0.01])
@pytest.mark.parametrize(("name", "mode"), ALL)
def test_the_noise_of_a_room_is_not_speech_from_the_first_frame_on(name: str, mode: int, level: float) -> None:
    engine = open_engine(name, mode)
    assert not any(engine.is_speech(frame) for frame in frames(noise(2, level)))


def test_silero_hears_the_pauses_that_webrtc_takes_for_speech() -> None:
    engine = open_engine("silero")
    verdicts = [engine.is_speech(frame) for frame in frames(jfk_pcm())]
    for begin_s, end_s in ((2.4, 3.2), (4.5, 5.3), (7.7, 8.1)):
        assert share_of_speech(verdicts, begin_s, end_s) < 0.1


def test_silero_does_not_take_loud_noise_for_speech() -> None:
    engine = open_engine("silero")
    assert not any(engine.is_speech(frame) for frame in frames(noise(5, level=0.1)))


def test_silero_frame_by_frame_equals_the_whole_sound_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[float] = []
    run = silero.SileroEngine._run

    def run_and_note(engine: silero.SileroEngine, samples: silero.Floats) -> float:
        heard.append(run(engine, samples))
        return heard[-1]

    monkeypatch.setattr(silero.SileroEngine, "_run", run_and_note)
    engine = silero.SileroEngine(threshold=0.5)
    for frame in frames(jfk_pcm()):
        engine.is_speech(frame)
    sound = np.frombuffer(jfk_pcm(), "<i2")[: len(heard) * silero.BLOCK].astype(np.float32) / 32768
    blocks = sound.reshape(-1, silero.BLOCK)
    context = np.vstack([np.zeros((1, silero.CONTEXT), np.float32), blocks[:-1, -silero.CONTEXT :]])
    state = np.zeros(silero.STATE_SHAPE, np.float32)
    at_once, _, _ = engine._session.run(None, {"input": np.hstack([context, blocks]), "h": state, "c": state})
    assert len(heard) == len(jfk_pcm()) // 960 * 480 // 512
    np.testing.assert_allclose(heard, at_once.flatten(), atol=1e-4)


@pytest.mark.parametrize(("name", "mode"), ALL)
def test_after_a_reset_the_same_sound_gets_the_same_verdicts(name: str, mode: int) -> None:
    engine = open_engine(name, mode)
    sound = frames(jfk_pcm())[:100]
    first = [engine.is_speech(frame) for frame in sound]
    engine.reset()
    assert [engine.is_speech(frame) for frame in sound] == first


@pytest.mark.parametrize(("name", "utterances"), [("webrtc", 1), ("silero", 3)])
def test_the_speech_is_one_utterance_or_three_with_a_silence_limit_of_one_second(name: str, utterances: int) -> None:
    engine, segmenter = open_engine(name), Segmenter(SegmenterConfig())
    events = [event for frame in frames(jfk_pcm()) for event in segmenter.push(segmenter.next_sample, frame, engine.is_speech(frame))]
    assert len([event for event in events + segmenter.flush() if isinstance(event, Segment)]) == utterances


def test_an_unknown_engine_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(EngineError, match="no engine 'slero'; use one of: webrtc, silero"):
        open_engine("slero")


def test_webrtc_refuses_a_mode_it_does_not_have() -> None:
    with pytest.raises(EngineError, match="modes 0 to 3, not 4"):
        open_engine("webrtc", 4)


@pytest.mark.parametrize(("name", "module"), [("webrtc", "webrtcvad"), ("silero", "onnxruntime")])
def test_a_missing_library_is_told_in_one_line(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EngineError, match="does not load") as caught:
        open_engine(name)
    assert "\n" not in str(caught.value)


def test_silero_without_faster_whisper_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="needs the package faster-whisper"):
        open_engine("silero")


def test_silero_without_its_model_says_where_it_looked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = ModuleSpec("faster_whisper", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(silero, "find_spec", lambda name: spec)
    with pytest.raises(EngineError, match=r"silero_vad_v6\.onnx"):
        open_engine("silero")


def test_opening_silero_does_not_import_faster_whisper() -> None:
    was_there = "faster_whisper" in sys.modules
    open_engine("silero")
    assert ("faster_whisper" in sys.modules) == was_there
