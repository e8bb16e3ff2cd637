"""Human speech for the tests: the sound in tests/data/audio, and when there is speech in it."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import soundfile
import soxr

from bus.limits import FRAME_SAMPLES, SAMPLE_RATE_HZ

JFK = Path(__file__).parents[1] / "data" / "audio" / "jfk.flac"  # 11 s of John F. Kennedy, public domain
# By ear and by the envelope, good to about a tenth of a second. The sound between them is breath and a noisy room.
JFK_SPEECH_S = ((0.3, 2.2), (3.3, 4.4), (5.4, 7.6), (8.2, 10.6))


@functools.cache
def jfk_pcm() -> bytes:
    """The speech as int16 mono PCM at 16 kHz."""
    sound, rate = soundfile.read(JFK, dtype="float32", always_2d=True)
    mono = soxr.resample(sound.mean(axis=1), rate, SAMPLE_RATE_HZ)
    return bytes((mono * 32767).clip(-32768, 32767).astype("<i2").tobytes())


def frames(pcm: bytes) -> list[bytes]:
    """Whole frames; what is left over at the end is dropped."""
    size = FRAME_SAMPLES * 2
    return [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]


def noise(seconds: float, level: float, seed: int = 1) -> bytes:
    """White noise of the given standard deviation (of full scale)."""
    samples = np.random.default_rng(seed).normal(0, level * 32768, round(seconds * SAMPLE_RATE_HZ))
    return samples.clip(-32768, 32767).astype("<i2").tobytes()
