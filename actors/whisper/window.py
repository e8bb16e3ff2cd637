"""How much Whisper is given to hear at a time. Pure.

Whisper was trained on 30 s, and faster-whisper pads whatever is shorter to that: an utterance of 3 s costs what one of 30 s costs. The
encoder takes less. How much less does no harm depends on the model; docs/performance.md has what was measured.
"""

from __future__ import annotations

from typing import Final

FRAMES_PER_S: Final = 100
"""Of Whisper's features."""
FULL_FRAMES: Final = 3000
WINDOWS_FRAMES: Final = (1000, 1500, 2000, FULL_FRAMES)
"""No shorter than 10 s: the less padding a model sees, the further it is from what it was trained on. Few sizes, so that an allocator
which keeps what it had finds the same sizes again."""
MARGIN_FRAMES: Final = 2 * FRAMES_PER_S
"""Padding after the last sound, from which the model knows that nothing more comes."""


def window_frames(sound_s: float) -> int:
    """The shortest window that holds so much sound and the margin; the full one where none does."""
    wanted = sound_s * FRAMES_PER_S + MARGIN_FRAMES
    return next((frames for frames in WINDOWS_FRAMES if wanted <= frames), FULL_FRAMES)
