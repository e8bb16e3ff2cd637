"""Raw PCM on a file descriptor as a source: 16 kHz, mono, signed 16 bit, little-endian. `arecord -t raw -f S16_LE -r 16000`."""

from __future__ import annotations

import os
import select

from actors.mic.sources import Cutter, Frame, SourceError
from bus.limits import FRAME_BYTES, SAMPLE_BYTES


class StdinSource:
    """Reads what is there, until the writer closes its end. Who does not read makes the writer of a pipe wait."""

    def __init__(self, fd: int) -> None:
        """Read from `fd`, which stays the caller's to close."""
        self._fd = fd
        self._cutter = Cutter()
        self._half = b""  # the first byte of a sample whose second one has not come yet
        self._notes: list[str] = []
        self._heard_bytes = 0
        self._ended = False

    @property
    def label(self) -> str:
        return "standard input"

    def open(self) -> None:
        """Raise SourceError when somebody sits at the other end: a terminal sends no sound."""
        if os.isatty(self._fd):
            raise SourceError("standard input is a terminal; pipe raw PCM into it (16 kHz, mono, s16le) or choose another source")

    def fileno(self) -> int:
        return self._fd

    def read(self, max_frames: int) -> list[Frame]:
        """Raise SourceError when the first bytes are those of a sound file, and when there are none at all."""
        # Not O_NONBLOCK: that would also change the descriptor of everybody else who has it.
        if self._ended or not select.select([self._fd], [], [], 0)[0]:
            return []
        data = os.read(self._fd, max_frames * FRAME_BYTES)
        if not self._heard_bytes and data.startswith((b"RIFF", b"fLaC", b"OggS")):
            raise SourceError("standard input carries a sound file, not raw PCM; give its path as a file source")
        self._heard_bytes += len(data)
        if not data:
            return self._end()
        data = self._half + data
        whole = len(data) - len(data) % SAMPLE_BYTES
        self._half = data[whole:]
        return self._cutter.feed(data[:whole])

    @property
    def ended(self) -> bool:
        return self._ended

    def take_notes(self) -> list[str]:
        notes, self._notes = self._notes, []
        return notes

    @property
    def trouble(self) -> str:
        return ""

    def close(self) -> None:
        """The descriptor is not ours."""

    def _end(self) -> list[Frame]:
        if not self._heard_bytes:
            raise SourceError("standard input is empty: there is no sound in it; pipe raw PCM into it (16 kHz, mono, s16le)")
        self._ended = True
        if self._half:
            self._notes.append("standard input ended in the middle of a sample: is it 16 bit? (16 kHz, mono, s16le)")
        return self._cutter.finish()
