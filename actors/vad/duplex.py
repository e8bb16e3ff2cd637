"""Half duplex: what is captured while the assistant speaks is not heard, for it would be the assistant. Pure.

Without echo cancellation a microphone hears the loudspeaker as well as it hears people. So as long as the voice sounds, and until the
room is quiet again, frames count as silence. An utterance that was open before the voice began is heard to its end: it is somebody's.

All news come from the speaker, in order. It repeats each second that the voice sounds, so whoever has just started, and whoever took it
for silent because nothing came, learns soon that it is not.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

ROOM_NS: Final = 300_000_000
"""How long the room and the sound card go on after the last sample: reverberation, and buffers that nobody tells of."""
LONGEST_NS: Final = 5_000_000_000
"""Without news of the voice for so long it is silent: it waits for words, or its last event got lost."""
MAX_STRETCHES: Final = 16
"""Sound that was captured before more of them than this is no longer in any ring."""


@dataclass
class _Stretch:
    since_ns: int
    until_ns: int


class VoiceGate:
    """Knows when the assistant's voice sounds, and sounded. All times are monotonic, ns."""

    def __init__(self) -> None:
        self._stretches: deque[_Stretch] = deque(maxlen=MAX_STRETCHES)
        self._ended_ns = -1

    def sounds(self, at_ns: int, since_ns: int | None = None) -> None:
        """The voice sounds at that time, and has sounded since then without a break; None: since that time."""
        if at_ns <= self._ended_ns:
            return
        since_ns = at_ns if since_ns is None else max(min(since_ns, at_ns), self._ended_ns)
        last = self._stretches[-1] if self._stretches else None
        if last is not None and since_ns <= last.until_ns:
            last.until_ns = max(last.until_ns, at_ns + LONGEST_NS)
        else:
            self._stretches.append(_Stretch(since_ns, at_ns + LONGEST_NS))

    def silent(self, at_ns: int) -> None:
        """The voice has ended."""
        self._ended_ns = at_ns
        if self._stretches:
            self._stretches[-1].until_ns = at_ns + ROOM_NS

    def is_shut(self, captured_ns: int) -> bool:
        """Whether a frame that was captured then is not to be heard."""
        return any(stretch.since_ns <= captured_ns <= stretch.until_ns for stretch in self._stretches)
