"""The recorder's files: a row of short ones that are thrown away by age and size, and one that the user asked for."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from bus.clock import Clock
from bus.flight import flight_files
from bus.messages.base import Message
from bus.recording import About, RecordingWriter, Sound

FLIGHT_FILE_S: Final = 60.0
"""Each flight file holds so much at most: what is thrown away is thrown away by the file."""


def create(path: Path, about: About, clock: Clock) -> RecordingWriter:
    """Begin a new file that its user alone can read. Raise FileExistsError when it is there, OSError when it cannot be made."""
    output = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
    try:
        return RecordingWriter(output, about, clock)
    except OSError:  # not even its beginning fits: it would be in the way of the next
        with suppress(OSError):
            output.close()
        path.unlink(missing_ok=True)
        raise


class Flight:
    """The last minutes, in files `flight-000001.mcap` and so on."""

    def __init__(self, directory: Path, about: About, clock: Clock, *, keep_s: float, max_bytes: int) -> None:
        """Raise OSError when the directory cannot be made."""
        self._directory = directory
        self._about = about
        self._clock = clock
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._writer: RecordingWriter | None = None
        self._path = directory
        self._begun_ns = 0
        self._has_kept = False
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def event(self, message: Message) -> None:
        """Write an event down. Raise OSError."""
        self._current().event(message)

    def sound(self, sound: Sound) -> None:
        """Write frames down. Raise OSError."""
        self._current().sound(sound)

    def flush(self) -> bool:
        """Put into the file what there is; begin a new one in time; throw away what is too old. Raise OSError.

        Return whether the present file has taken something.
        """
        writer = self._writer
        if writer is not None:
            writer.flush()
            self._has_kept = True
            is_old = self._clock.monotonic_ns() - self._begun_ns >= min(FLIGHT_FILE_S, self._keep_s) * 1e9
            if is_old or writer.size_bytes >= self._max_bytes // 8:
                self.close()
        self._prune()
        return self._has_kept

    def close(self) -> None:
        """Finish the present file. Raise OSError."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def abandon(self) -> None:
        """Let go of a file that cannot be written; one that has taken nothing is removed."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abandon()
            if not self._has_kept:
                self._path.unlink(missing_ok=True)

    def _current(self) -> RecordingWriter:
        if self._writer is not None and not self._path.exists():  # the user has had it forgotten
            self.abandon()
        if self._writer is None:
            files = flight_files(self._directory)
            number = int(files[-1].stem.rpartition("-")[2]) + 1 if files else 1
            self._path = self._directory / f"flight-{number:06}.mcap"
            self._writer = create(self._path, self._about, self._clock)
            self._begun_ns = self._clock.monotonic_ns()
            self._has_kept = False
        return self._writer

    def _prune(self) -> None:
        now_s = time.time()
        size_bytes = 0
        for path in reversed(flight_files(self._directory)):
            status = path.stat()
            size_bytes += status.st_size
            # One from the future is from before a clock was set back: nobody knows how old it is.
            is_too_old = not 0 <= now_s - status.st_mtime + FLIGHT_FILE_S <= self._keep_s + FLIGHT_FILE_S
            if path != self._path and (is_too_old or size_bytes > self._max_bytes):
                path.unlink(missing_ok=True)
