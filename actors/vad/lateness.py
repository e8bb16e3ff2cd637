"""Whether a frame is heard too late. Pure.

Sound from a file that is read as fast as it is heard waits at the source, and that is not lateness: nobody spoke it just now. So a
frame is due no earlier than the sound before it lasts. It counts for a little less than its length, so that a sound card whose
clock is fast does not gain a credit over the days.
"""

from __future__ import annotations

from bus.limits import FRAME_MS

_STEP_NS = (FRAME_MS - 1) * 1_000_000
AT_PACE_NS = 200_000_000
"""A device may deliver so much at once."""


class Lateness:
    """Follows the frames of one stream."""

    def __init__(self, stale_ms: int) -> None:
        self._stale_ns = stale_ms * 1_000_000
        self._due_ns = 0
        self._ahead_ns = 0

    @property
    def at_pace(self) -> bool:
        """Whether the sound comes as fast as it is spoken and no faster."""
        return self._ahead_ns < AT_PACE_NS

    def is_stale(self, captured_ns: int, now_ns: int) -> bool:
        """Take the next frame, whose last sample was captured at `captured_ns` and that is heard now."""
        self._due_ns = max(captured_ns, self._due_ns + _STEP_NS)
        self._ahead_ns = self._due_ns - captured_ns
        return now_ns - self._due_ns > self._stale_ns
