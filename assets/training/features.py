"""From samples to what the encoder sees, exactly as faster-whisper does it at recognition time.

faster-whisper computes the log-mel of the clip alone and pads the *features* with zeros; padding the sound with
silence instead gives other values, and a model trained that way does not hear.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from faster_whisper.feature_extractor import FeatureExtractor

MEL_BINS = 80
FRAMES_PER_SECOND = 100
WINDOW_FRAMES = 3000  # 30 s

Features = npt.NDArray[np.float32]
_extractor = FeatureExtractor(feature_size=MEL_BINS)


def log_mel(samples: npt.NDArray[np.float32]) -> Features:
    """(MEL_BINS, frames) of one clip of 16 kHz samples; 100 frames per second, cut at 30 s."""
    features: Features = _extractor(samples)[:, :WINDOW_FRAMES].astype(np.float32)
    return features


def stack(clips: list[Features], frames: int) -> Features:
    """(clips, MEL_BINS, frames), each clip followed by zeros; `frames` must hold the longest of them."""
    stacked = np.zeros((len(clips), MEL_BINS, frames), np.float32)
    for row, clip in zip(stacked, clips, strict=True):
        row[:, : clip.shape[1]] = clip
    return stacked
