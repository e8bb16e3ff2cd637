"""When a sound that lies ready is played into the stream: as fast as it is spoken, or as fast as it can be read."""

from __future__ import annotations

from typing import Literal

from bus.limits import FRAME_SAMPLES, SAMPLE_RATE_HZ

Pace = Literal["real", "fast"]


class Pacer:
    """Times the frames of a file by a clock that is handed in. Pure.

    At real pace a frame is due when a microphone would deliver it: when its last sample has been spoken. After a delay the
    frames that are overdue come at once, as they come from a device.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._zero_ns: int | None = None  # when sample 0 was, or would have been, spoken

    def wait_s(self, first_sample: int, now_ns: int) -> float:
        """How long to wait, from `now_ns`, for the frame that begins with `first_sample`. The first call starts the clock."""
        if self._pace == "fast":
            return 0.0
        if self._zero_ns is None:
            self._zero_ns = now_ns - _duration_ns(first_sample)
        return max(0.0, (self._zero_ns + _duration_ns(first_sample + FRAME_SAMPLES) - now_ns) / 1e9)


def _duration_ns(samples: int) -> int:
    return samples * 1_000_000_000 // SAMPLE_RATE_HZ
