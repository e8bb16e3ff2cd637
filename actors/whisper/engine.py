"""faster-whisper behind a small interface. The one file of this actor that imports the model library."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # before huggingface_hub is imported: nothing leaves the machine
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # nor by onnxruntime, which from 1.31 on reports to its maker unless told not to

import numpy as np
from faster_whisper import WhisperModel, available_models, download_model
from faster_whisper.vad import get_vad_model

from actors.whisper.guards import Limits, Segment, judge_text
from actors.whisper.window import FULL_FRAMES, window_frames
from bus.errors import SetupError
from bus.limits import FRAME_SAMPLES, SAMPLE_RATE_HZ
from bus.settings import WhisperSettings

SILERO_BLOCK = 512
VOICE_BLOCKS = 3
"""A voice lasts 100 ms at least; in white noise single blocks of 32 ms reach a probability of 0.4."""
TEMPERATURES = (0.0, 0.2, 0.4)
"""Greedy or beam first; two tries with sampling when the result looks bad. faster-whisper's own six can take 20 s."""
FULL_SCALE = 32768.0


@dataclass(frozen=True)
class Sound:
    """What can be said of an utterance before any model of words has heard it."""

    rms_dbfs: float
    """Loudness of the loudest 30 ms."""
    voice_prob: float
    """Highest probability of speech that is held for 100 ms, by Silero."""


def _go_on() -> None:
    """Between two steps of a decoding that is wanted whatever comes."""


class WindowedWhisper(WhisperModel):  # type: ignore[misc]  # it has no types
    """Encodes `window_frames` of features, where faster-whisper pads to 30 s and encodes all of that.

    Only padding may be cut off. Timestamps count from the first frame and faster-whisper seeks by the length of the sound, so both stay
    as they are; what is left of the sound after a seek is shorter, so it fits as well.
    """

    window_frames = FULL_FRAMES
    between_steps: Callable[[], None] = staticmethod(_go_on)

    def encode(self, features: np.ndarray) -> Any:
        """(mels, FULL_FRAMES) to what the decoder listens to."""
        self.between_steps()
        encoded = super().encode(features[..., : self.window_frames])
        self.between_steps()
        return encoded


class Engine:
    """A loaded model. Loading takes seconds and raises SetupError with what to do."""

    trial_s: float
    """How long one second of silence took on this machine in the full window, which costs the same for every utterance, and a few words."""

    def __init__(self, path: str, settings: WhisperSettings, threads: int, *, workers: int = 1) -> None:
        """`path` is a directory that `find_model` gave. `workers` decodings can run at once, each with so many threads: the actor has one,
        and `make bench` lays faster-whisper's own way to have more beside processes."""
        self._settings = settings
        self._limits = Limits.of(settings)
        try:
            self._model = WindowedWhisper(
                path, device=settings.device, compute_type=settings.compute_type, cpu_threads=threads, num_workers=workers
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise SetupError(
                f"cannot load the Whisper model in {path}: {error}; set whisper.model, whisper.device or whisper.compute_type"
            ) from None
        known = self._model.supported_languages
        if settings.language and settings.language not in known:
            knows = "English only" if known == ["en"] else f"{len(known)} others"
            raise SetupError(
                f"the Whisper model in {path} does not know the language {settings.language!r}, but {knows}; "
                "set whisper.language, or a whisper.model that has no .en in its name"
            )
        self._voice = get_vad_model()
        begun_s = time.monotonic()
        # The first run allocates; no speaker should wait for that. The full window: it may be needed, and deadlines count in it.
        self.decode(np.zeros(SAMPLE_RATE_HZ, np.float32), FULL_FRAMES, TEMPERATURES)
        self.trial_s = time.monotonic() - begun_s

    def look(self, pcm: bytes) -> Sound:
        """Measure mono int16 PCM at 16 kHz."""
        samples = np.frombuffer(pcm, np.int16).astype(np.float32) / FULL_SCALE
        frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
        loudest = float(np.sqrt((frames**2).mean(axis=1)).max(initial=0.0))
        padded = np.pad(samples, (0, -len(samples) % SILERO_BLOCK or SILERO_BLOCK * (not len(samples))))  # Silero needs a block
        held = np.lib.stride_tricks.sliding_window_view(np.pad(self._voice(padded), (0, VOICE_BLOCKS)), VOICE_BLOCKS).min(axis=1)
        return Sound(20 * math.log10(max(loudest, 1 / FULL_SCALE)), float(held.max()))

    def transcribe(self, pcm: bytes, *, quick: bool = False, between_steps: Callable[[], None] = _go_on) -> list[Segment]:
        """Decode mono int16 PCM at 16 kHz, 30 s at most. `quick`: greedily and once, for words that are heard again anyway.

        `between_steps` is called before each step that takes long, and what it raises ends the decoding: nothing else can.
        """
        decode = partial(self.decode, between_steps=between_steps)
        samples = np.frombuffer(pcm, np.int16).astype(np.float32) / FULL_SCALE
        sound_s = len(samples) / SAMPLE_RATE_HZ
        frames = window_frames(sound_s) if self._settings.window == "auto" else FULL_FRAMES
        if quick:
            return decode(samples, frames, TEMPERATURES[:1], beam_size=1)
        if frames < FULL_FRAMES:  # without sampling: what is not plain in the short window is better heard in the full one
            segments = decode(samples, frames, TEMPERATURES[:1])
            if judge_text(segments, round(1000 * sound_s), self._limits).sure:
                return segments
        return decode(samples, FULL_FRAMES, TEMPERATURES)

    def decode(
        self,
        samples: np.ndarray,
        frames: int,
        temperatures: tuple[float, ...],
        *,
        beam_size: int = 0,
        between_steps: Callable[[], None] = _go_on,
    ) -> list[Segment]:
        """Decode float samples in a window of so many frames, which must hold them; the temperatures are tried in turn."""
        model = copy.copy(self._model)  # the loaded model is shared, the window is this call's: several threads may decode at once
        model.window_frames, model.between_steps = frames, between_steps
        settings = self._settings
        segments, _ = model.transcribe(
            samples,
            language=settings.language or None,
            beam_size=beam_size or settings.beam_size,
            temperature=temperatures,
            compression_ratio_threshold=settings.compression_ratio_threshold,
            log_prob_threshold=settings.log_prob_threshold,
            no_speech_threshold=settings.no_speech_threshold,
            condition_on_previous_text=False,  # utterances are independent; conditioning is what makes Whisper loop
            initial_prompt=settings.initial_prompt or None,
            hotwords=settings.hotwords or None,
        )
        return [Segment(found.text, found.avg_logprob, found.no_speech_prob, found.compression_ratio) for found in segments]


def find_model(model: str, *, download: bool) -> str:
    """Return the directory of a model given by name or by directory. Raise SetupError with what to do.

    What is on this machine is used without asking anybody; only a model that is not here is fetched, once, and only if allowed.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        missing = [name for name in ("model.bin", "config.json", "tokenizer.json") if not (path / name).is_file()]
        if missing:
            raise SetupError(
                f"no Whisper model in {path}: {', '.join(missing)} missing; set whisper.model to a CTranslate2 model or to a name"
            )
        return str(path)
    if path.is_absolute() or model.startswith((".", "~")):
        raise SetupError(f"there is no directory {path}; set whisper.model to a CTranslate2 model or to a name such as small.en")
    try:
        return str(download_model(model, local_files_only=True))
    except ValueError:
        raise SetupError(f"there is no Whisper model named {model!r}; names: {', '.join(available_models())}; or a directory") from None
    except Exception as absent:  # huggingface_hub raises many kinds; all of them mean that it is not here
        if not download:
            raise SetupError(f"no model {model!r} on this machine, and whisper.download is false; set whisper.model") from absent
    try:
        return str(download_model(model))
    except Exception as error:
        raise SetupError(
            f"no model {model!r} on this machine and no network to fetch it ({type(error).__name__}): "
            "connect this machine once, or set whisper.model to a model's directory"
        ) from error
