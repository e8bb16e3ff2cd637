"""What every source of sound is to the microphone actor: something that yields numbered frames."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from bus.errors import SetupError
from bus.limits import FRAME_BYTES, FRAME_SAMPLES


class SourceError(SetupError):
    """A source that cannot be used, and will not be usable by itself later."""


class Frame(NamedTuple):
    """480 samples of int16 mono PCM at 16 kHz. A jump in `first_sample` from frame to frame is a hole in the sound."""

    first_sample: int
    pcm: bytes
    captured_ns: int = 0  # monotonic time of its last sample; 0: now, when it is read


class Source(Protocol):
    """One source of sound. All its methods belong to the main loop."""

    @property
    def label(self) -> str:
        """What is captured, for people: a file's name, a device's name."""

    def open(self) -> None:
        """Begin. Raise SourceError, whose text is one line for the user, when there is no sound to be had from it."""

    def fileno(self) -> int | None:
        """A descriptor that is readable when `read` has something to do; None when it always has."""

    def read(self, max_frames: int) -> list[Frame]:
        """Return the next frames, if there are any now, without waiting for more."""

    @property
    def ended(self) -> bool:
        """Whether the last frame has been returned."""

    def take_notes(self) -> list[str]:
        """Return the one-line messages for the user that came up since the last call."""

    @property
    def trouble(self) -> str:
        """Why there is no sound at present, in one line for the user; empty when there is, or when it is over."""

    def close(self) -> None:
        """Stop, at once and whatever state the source is in."""


class Cutter:
    """Cuts PCM that comes in pieces of any size into numbered frames."""

    def __init__(self, first_sample: int = 0) -> None:
        self._next_sample = first_sample
        self._rest = b""

    @property
    def next_sample(self) -> int:
        """The number of the first sample of the next frame."""
        return self._next_sample

    def feed(self, pcm: bytes, captured_ns: int = 0) -> list[Frame]:
        """Add PCM that was captured until `captured_ns` and return the frames that are now whole."""
        pcm = self._rest + pcm if self._rest else pcm
        whole = len(pcm) - len(pcm) % FRAME_BYTES
        self._rest = pcm[whole:]
        return [self._number(pcm[at : at + FRAME_BYTES], captured_ns) for at in range(0, whole, FRAME_BYTES)]

    def finish(self, captured_ns: int = 0) -> list[Frame]:
        """Return what is left over, if anything, as a frame that silence fills up."""
        if not self._rest:
            return []
        rest, self._rest = self._rest, b""
        return [self._number(rest.ljust(FRAME_BYTES, b"\0"), captured_ns)]

    def skip(self, count: int, captured_ns: int = 0) -> list[Frame]:
        """Leave a hole of `count` frames; what is left over before it becomes its first frame."""
        begun = self.finish(captured_ns) if count else []
        self._next_sample += (count - len(begun)) * FRAME_SAMPLES
        return begun

    def _number(self, pcm: bytes, captured_ns: int) -> Frame:
        frame = Frame(self._next_sample, pcm, captured_ns)
        self._next_sample += FRAME_SAMPLES
        return frame
