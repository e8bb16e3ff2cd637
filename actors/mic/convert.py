"""Any sampling rate and any number of channels to 16 kHz mono int16, as a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import soxr

from bus.limits import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

FULL_SCALE = 32768  # of int16: what 16 bits went in comes out bit for bit


class Converter:
    """Converts one sound, piece by piece: no click where two pieces meet."""

    def __init__(self, rate_hz: int) -> None:
        self._resampler = None if rate_hz == SAMPLE_RATE_HZ else soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1)

    def feed(self, sound: Floats) -> bytes:
        """Take float32 samples of full scale 1.0, shape [samples, channels]; return PCM, which may lag behind."""
        mono = np.nan_to_num(sound.mean(axis=1, dtype=np.float32))
        return _to_pcm(mono if self._resampler is None else self._resampler.resample_chunk(mono))

    def feed_pcm(self, pcm: bytes, channels: int) -> bytes:
        """Take interleaved int16 PCM of that many channels."""
        samples = np.frombuffer(pcm, "<i2").reshape(-1, channels)
        return self.feed(samples.astype(np.float32) / np.float32(FULL_SCALE))

    def finish(self) -> bytes:
        """The sound has ended: return what still lagged behind."""
        if self._resampler is None:
            return b""
        return _to_pcm(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))


def _to_pcm(mono: Floats) -> bytes:
    samples = np.rint(mono.clip(-1, 1) * np.float32(FULL_SCALE)).clip(max=FULL_SCALE - 1)
    return bytes(samples.astype("<i2").tobytes())
