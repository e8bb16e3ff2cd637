"""Silero VAD version 6, from the ONNX file that faster-whisper carries; much better than WebRTC's in noise.

faster-whisper's own wrapper is not used: it forgets its state between calls and zeroes the end of the array it is given.
The model hears blocks of 512 samples and frames have 480. A frame gets the verdict on the last block that is complete, so a
verdict is up to 511 samples (32 ms) late: pre-roll covers that at the start, and at the end it counts as speech.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.vad.engines import EngineError

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before onnxruntime is imported, which reports to its maker unless told not to

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

MODEL = "silero_vad_v6.onnx"
BLOCK = 512  # new samples that the model takes at once
CONTEXT = 64  # samples before them that it wants to see again
STATE_SHAPE = (1, 1, 128)
HYSTERESIS = 0.15  # speech ends this much below the probability with which it begins, so that a verdict does not flicker


class SileroEngine:
    """The model with its recurrent state, on one thread."""

    def __init__(self, threshold: float) -> None:
        """Speech begins with a probability of `threshold`. Raise EngineError when onnxruntime or the model is not there."""
        import numpy

        self._np = numpy
        self._threshold = threshold
        self._session = _open_session(_model_path())
        self._pending: Floats = numpy.zeros(CONTEXT, numpy.float32)  # the context, then what awaits a whole block
        self._speech = False
        self.reset()

    def is_speech(self, pcm: bytes) -> bool:
        np = self._np
        self._pending = np.concatenate([self._pending, np.frombuffer(pcm, np.dtype("<i2")).astype(np.float32) / 32768])
        while len(self._pending) >= CONTEXT + BLOCK:
            probability = self._run(self._pending[: CONTEXT + BLOCK])
            self._pending = self._pending[BLOCK:]
            self._speech = probability >= self._threshold - (HYSTERESIS if self._speech else 0.0)
        return self._speech

    def reset(self) -> None:
        self._hidden = self._np.zeros(STATE_SHAPE, self._np.float32)
        self._cell = self._np.zeros(STATE_SHAPE, self._np.float32)
        self._pending = self._np.zeros(CONTEXT, self._np.float32)
        self._speech = False

    def _run(self, samples: Floats) -> float:
        inputs = {"input": samples[None, :], "h": self._hidden, "c": self._cell}
        probability, self._hidden, self._cell = self._session.run(None, inputs)
        return float(probability.flat[0])


def _model_path() -> Path:
    """Where faster-whisper keeps the model. The package is only located: importing it takes seconds."""
    spec = find_spec("faster_whisper")
    if spec is None or not spec.submodule_search_locations:
        raise EngineError("vad.engine: silero needs the package faster-whisper, which is not installed; or use webrtc")
    path = Path(spec.submodule_search_locations[0]) / "assets" / MODEL
    if not path.is_file():
        raise EngineError(f"vad.engine: silero finds no {path}; install faster-whisper 1.2.1 or later, or use webrtc")
    return path


def _open_session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(f"vad.engine: silero does not load ({error}); install onnxruntime, or use webrtc") from error
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"], sess_options=options)
    except Exception as error:  # onnxruntime has no base class of its own for what it raises
        raise EngineError(f"vad.engine: silero cannot load {path} ({error}); reinstall faster-whisper") from error
