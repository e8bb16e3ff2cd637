"""Half duplex: what is captured while the assistant speaks is not heard, for it would be the assistant. Pure.

Without echo cancellation a microphone hears the loudspeaker as well as it hears people. So as long as the voice sounds, and until the
room is quiet again, frames count as silence. An utterance that was open before the voice began is heard to its end: it is somebody's.
"""

from __future__ import annotations

from typing import Final

ROOM_NS: Final = 300_000_000
"""How long the room and the sound card go on after the last sample: reverberation, and buffers that nobody tells of."""
LONGEST_NS: Final = 30_000_000_000
"""Without news of the voice for so long it is over: its last event got lost."""


class VoiceGate:
    """Knows when the assistant's voice sounds. All times are monotonic, ns."""

    def __init__(self) -> None:
        self._since_ns: int | None = None
        self._until_ns = -1
        self._is_over = True

    def sounds(self, at_ns: int) -> None:
        """The voice began."""
        if at_ns > self._until_ns:
            self._since_ns = at_ns
        self._until_ns = at_ns + LONGEST_NS
        self._is_over = False

    def goes_on(self, at_ns: int) -> None:
        """It still sounds, if it was not told to be over."""
        if self.is_shut(at_ns) and not self._is_over:
            self._until_ns = at_ns + LONGEST_NS

    def silent(self, at_ns: int) -> None:
        """The voice has ended."""
        self._is_over = True
        self._until_ns = at_ns + ROOM_NS

    def is_shut(self, captured_ns: int) -> bool:
        """Whether a frame that was captured then is not to be heard."""
        return self._since_ns is not None and self._since_ns <= captured_ns <= self._until_ns
