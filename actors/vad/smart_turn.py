"""Whether a turn is over by its sound: an ONNX model of Smart Turn, version 3, that the user brings (`vad.turn_model`).

What such a model wants is written down in the README of github.com/pipecat-ai/smart-turn ("Notes on input format") and in
src/pipecat/audio/turn/smart_turn/local_smart_turn_v3.py and _whisper_features.py of github.com/pipecat-ai/pipecat: the last 8 s of the
turn, zeros before it where it is shorter, brought to mean 0 and variance 1, as Whisper's log-mel of 80 bins and 800 frames under the name
`input_features`; out comes the probability that the turn is over, to be compared with 0.5. No such model was at hand when this was written:
it is tested with a made one of the same shape.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.vad.endpoint import Verdict
from actors.vad.engines import EngineError
from bus.limits import SAMPLE_RATE_HZ

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before onnxruntime is imported, which reports to its maker unless told not to

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

INPUT = "input_features"
SAMPLES = 8 * SAMPLE_RATE_HZ
WINDOW, HOP, BINS, FRAMES = 400, 160, 80, 800
OVER = 0.5
QUIETEST = 1e-10  # power below which Whisper hears nothing
RANGE = 8.0  # decades below the loudest that it hears


class SmartTurn:
    """The model, on one thread."""

    def __init__(self, path: str) -> None:
        """Raise EngineError when onnxruntime or the model is not there, or the model is of another shape."""
        self._session = _open_session(Path(path).expanduser())
        self._mel = _mel_filters()
        self._window = np.hanning(WINDOW + 1)[:-1]

    def by_words(self, text: str) -> Verdict:  # noqa: ARG002
        return Verdict.UNSURE

    def by_sound(self, pcm: bytes) -> Verdict:
        return Verdict.FINISHED if self.probability(pcm) > OVER else Verdict.UNFINISHED

    def probability(self, pcm: bytes) -> float:
        """That the turn whose sound is `pcm` (mono int16 at 16 kHz, from its beginning) is over."""
        (over, *_) = self._session.run(None, {INPUT: self.features(pcm)[None]})
        return float(np.asarray(over).flat[0])

    def features(self, pcm: bytes) -> Floats:
        """The log-mel of the last 8 s, (80, 800)."""
        samples = np.frombuffer(pcm, np.dtype("<i2"))[-SAMPLES:].astype(np.float32) / 32768
        samples = np.pad(samples, (SAMPLES - len(samples), 0))
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + np.float32(1e-7))
        padded = np.pad(samples.astype(np.float64), WINDOW // 2, mode="reflect")
        pieces = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:FRAMES]
        power = np.abs(np.fft.rfft(pieces * self._window)) ** 2
        log = np.log10(np.maximum(self._mel @ power.T, QUIETEST))
        features: Floats = ((np.maximum(log, log.max() - RANGE) + 4) / 4).astype(np.float32)
        return features


def _mel_filters() -> npt.NDArray[np.float64]:
    """Triangles on the mel scale of Slaney, each of the same area: (BINS, WINDOW // 2 + 1). Linear below 1 kHz, logarithmic above."""
    linear_hz, step = 200 / 3, np.log(6.4) / 27
    mels = np.linspace(0, 15 + np.log(SAMPLE_RATE_HZ / 2 / 1000) / step, BINS + 2)
    edges_hz = np.where(mels < 15, mels * linear_hz, 1000 * np.exp(step * (mels - 15)))
    hz = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE_HZ)
    rising = (hz - edges_hz[:-2, None]) / np.diff(edges_hz)[:-1, None]
    falling = (edges_hz[2:, None] - hz) / np.diff(edges_hz)[1:, None]
    filters: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return filters


def _open_session(path: Path) -> Any:
    if not path.is_file():
        raise EngineError(f"vad.turn_model: there is no file {path}; fetch pipecat-ai's smart-turn-v3, or leave it empty")
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(f"vad.turn_model does not load ({error}); install onnxruntime, or leave it empty") from error
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"], sess_options=options)
    except Exception as error:  # onnxruntime has no base class of its own for what it raises
        raise EngineError(f"vad.turn_model: onnxruntime cannot load {path} ({error}); fetch it again, or leave it empty") from error
    inputs = [(one.name, one.shape[1:]) for one in session.get_inputs()]
    if inputs != [(INPUT, [BINS, FRAMES])]:
        raise EngineError(f"vad.turn_model: {path} is no Smart Turn 3: it wants {inputs}, and that wants {INPUT} of {BINS} by {FRAMES}")
    return session
