"""An engine whose verdicts do not hang on when it was started. Pure but for the engines that are handed in.

Engines remember: what they say of a frame hangs on all that they heard before it. One that is started in the middle of a stream, in
the place of one that was killed, would draw the edges of an utterance elsewhere. So two engines take turns: each is blank when it
begins to listen, WARM_UP_FRAMES before its turn, and speaks for BLOCK_FRAMES, counted from sample 0 of the stream. A verdict is
then a function of the sound from `warm_up_start` on, and whoever hears that says the same, frame for frame.

The lengths are a compromise: long enough that an engine knows the room before it speaks, and short enough that what a successor
has to hear again fits into the ring behind the longest utterance.
"""

from __future__ import annotations

from collections.abc import Callable

from actors.vad.engines import Engine
from bus.limits import FRAME_SAMPLES

BLOCK_FRAMES = 256  # 7.7 s
WARM_UP_FRAMES = 128  # 3.8 s


def warm_up_start(sample: int) -> int:
    """From which sample on a relay must hear the stream, that its verdicts from `sample` on are those of any other."""
    block = sample // FRAME_SAMPLES // BLOCK_FRAMES
    return max(0, block * BLOCK_FRAMES - WARM_UP_FRAMES) * FRAME_SAMPLES


class Relay:
    """Two engines for one stream."""

    def __init__(self, open_engine: Callable[[], Engine]) -> None:
        """Raise what `open_engine` raises."""
        self._speaking, self._listening = open_engine(), open_engine()
        self.begin(0)

    def begin(self, first_sample: int) -> None:
        """Forget what was heard: the next frame begins with `first_sample`, a multiple of 480."""
        self._frame = first_sample // FRAME_SAMPLES
        self._speaking.reset()
        self._warming = False

    def is_speech(self, pcm: bytes) -> bool:
        """Judge the next frame: 480 samples of int16 mono PCM at 16 kHz."""
        place = self._frame % BLOCK_FRAMES
        self._frame += 1
        if place == 0 and self._warming:
            self._speaking, self._listening = self._listening, self._speaking
            self._warming = False
        elif place == BLOCK_FRAMES - WARM_UP_FRAMES:
            self._listening.reset()
            self._warming = True
        if self._warming:
            self._listening.is_speech(pcm)
        return self._speaking.is_speech(pcm)
