"""The audio turn model, with a made model of the same shape: the real one is not part of this project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

from actors.vad.endpoint import Verdict
from actors.vad.engines import EngineError
from actors.vad.smart_turn import SmartTurn
from bus.limits import SAMPLE_RATE_HZ
from tests.fakes.audio_speech import jfk_pcm
from tests.fakes.tiny_onnx import BINS, FRAMES, write_model

SECOND = 2 * SAMPLE_RATE_HZ


def late_and_loud(gain: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Weights for which a turn is over when its last second is louder than the one before it."""
    weights = np.zeros((BINS, FRAMES), np.float32)
    weights[:, -100:], weights[:, -200:-100] = gain / BINS, -gain / BINS
    return weights


@pytest.fixture
def model(tmp_path: Path) -> SmartTurn:
    write_model(tmp_path / "turn.onnx", late_and_loud(0.02))
    return SmartTurn(str(tmp_path / "turn.onnx"))


def test_the_features_are_those_of_whisper_for_the_last_eight_seconds(model: SmartTurn) -> None:
    samples = np.frombuffer(jfk_pcm(), "<i2").astype(np.float32)[-8 * SAMPLE_RATE_HZ :] / 32768
    samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    expected = FeatureExtractor(feature_size=80, chunk_length=8)(samples, padding=0)
    assert expected.shape == (80, 800)
    np.testing.assert_allclose(model.features(jfk_pcm()), expected, atol=1e-3)


def test_a_shorter_turn_stands_at_the_end_behind_silence(model: SmartTurn) -> None:
    features = model.features(jfk_pcm()[: 2 * SECOND])
    assert features.shape == (80, 800)
    assert np.ptp(features[:, :590]) < 1e-6
    assert np.ptp(features[:, 605:]) > 0.5


def test_the_verdict_is_that_of_the_model_on_the_sound_it_is_given(model: SmartTurn) -> None:
    speech = jfk_pcm()[: 3 * SECOND]
    assert model.by_sound(bytes(SECOND) + speech[:SECOND]) is Verdict.FINISHED
    assert model.by_sound(speech + bytes(SECOND)) is Verdict.UNFINISHED
    assert 0 < model.probability(speech + bytes(SECOND)) < 0.5
    assert model.by_words("Stop.") is Verdict.UNSURE


def test_a_model_that_is_not_there_or_of_another_shape_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="there is no file"):
        SmartTurn(str(tmp_path / "none.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(EngineError, match="cannot load"):
        SmartTurn(str(tmp_path / "bad.onnx"))
    write_model(tmp_path / "other.onnx", np.zeros((BINS, 100), np.float32), frames=100)
    with pytest.raises(EngineError, match="is no Smart Turn 3"):
        SmartTurn(str(tmp_path / "other.onnx"))
