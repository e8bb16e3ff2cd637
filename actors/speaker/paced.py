"""Outputs that need no device: the time that sound takes, with a file that keeps it or without."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from bus.limits import SAMPLE_BYTES

HEADER_BYTES: Final = 44


class Sink(Protocol):
    """What is done with sound once it has been heard."""

    def begin(self, rate_hz: int) -> None:
        """What follows has this rate. Raises OSError."""

    def write(self, pcm: bytes) -> None:
        """Keep it. Raises OSError."""

    def close(self) -> None:
        """No more comes."""


class Paced:
    """Takes as long as the sound does; `fast`: no time at all."""

    def __init__(self, clock_ns: Callable[[], int], sink: Sink | None = None, *, fast: bool = False) -> None:
        self._clock_ns = clock_ns
        self._sink = sink
        self._fast = fast
        self._rate_hz = 1
        self._pcm = bytearray()  # not heard yet
        self._count = 0
        self._since_ns = 0  # the sample `_count` began to sound then
        self._trouble = ""

    @property
    def trouble(self) -> str:
        return self._trouble

    @property
    def delay_ns(self) -> int:
        return 0

    def begin(self, rate_hz: int) -> None:
        self._keep(len(self._pcm) // SAMPLE_BYTES)
        self._pcm.clear()
        self._rate_hz, self._count = rate_hz, 0
        try:
            if self._sink is not None:
                self._sink.begin(rate_hz)
        except OSError as error:
            self._trouble = _unwritten(error)
        else:
            self._trouble = ""

    def queue(self, pcm: bytes, *, last: bool) -> None:
        del last
        self.heard()
        if not self._pcm:
            self._since_ns = self._clock_ns()
        self._pcm += pcm

    @property
    def queued(self) -> int:
        return self._count + len(self._pcm) // SAMPLE_BYTES

    def heard(self) -> int:
        waiting = len(self._pcm) // SAMPLE_BYTES
        if waiting:
            now_ns = self._clock_ns()
            due = waiting if self._fast else min(waiting, (now_ns - self._since_ns) * self._rate_hz // 10**9)
            self._since_ns += due * 10**9 // self._rate_hz
            self._keep(due)
        return self._count

    def take_back(self) -> int:
        self.heard()
        self._pcm.clear()
        return self._count

    def wake(self) -> None:
        """It never sleeps."""

    def supervise(self) -> None:
        """Nothing can happen to it."""

    def close(self) -> None:
        if self._sink is not None:
            self._sink.close()

    def _keep(self, samples: int) -> None:
        if not samples:
            return
        try:
            if self._sink is not None and not self._trouble:
                self._sink.write(bytes(self._pcm[: samples * SAMPLE_BYTES]))
        except OSError as error:
            self._trouble = _unwritten(error)
        if self._trouble:
            return
        del self._pcm[: samples * SAMPLE_BYTES]
        self._count += samples


class WavFile:
    """A WAV that is whole after each write, whatever becomes of the process."""

    def __init__(self, path: Path) -> None:
        """A file that is there already is added to."""
        self._path = path
        self._fd: int | None = None
        self.size_bytes = 0

    @property
    def inode(self) -> int:
        """Of the open file; 0: none is."""
        return os.fstat(self._fd).st_ino if self._fd is not None else 0

    def cut_off(self, inode: int, size_bytes: int) -> None:
        """Forget what a predecessor wrote into this very file after it had last told where it was. Raises OSError."""
        if size_bytes >= HEADER_BYTES and self._path.exists():
            status = self._path.stat()
            if status.st_ino == inode and status.st_size > size_bytes:
                os.truncate(self._path, size_bytes)

    def begin(self, rate_hz: int) -> None:
        if self._fd is not None and not self._is_there():
            self.close()  # its user has taken it away, and gets another
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.size_bytes = os.fstat(self._fd).st_size
        header = os.pread(self._fd, HEADER_BYTES, 0)
        if not header:
            os.pwrite(self._fd, wav_header(rate_hz, 0), 0)
            self.size_bytes = HEADER_BYTES
        elif len(header) < HEADER_BYTES or header[:4] + header[8:28] != (wanted := wav_header(rate_hz, 0))[:4] + wanted[8:28]:
            raise OSError(f"{self._path} is no WAV file of mono int16 at {rate_hz} Hz; remove it or take another")

    def write(self, pcm: bytes) -> None:
        assert self._fd is not None
        os.pwrite(self._fd, pcm, self.size_bytes)
        self.size_bytes += len(pcm)
        data_bytes = self.size_bytes - HEADER_BYTES
        os.pwrite(self._fd, struct.pack("<I", data_bytes), HEADER_BYTES - 4)
        os.pwrite(self._fd, struct.pack("<I", data_bytes + HEADER_BYTES - 8), 4)

    def _is_there(self) -> bool:
        try:
            return self._path.stat().st_ino == self.inode
        except OSError:
            return False

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _unwritten(error: OSError) -> str:
    where = f" into {error.filename}" if error.filename else ""
    return f"what is spoken cannot be written{where}: {error.strerror or error}; see speaker.file"


def wav_header(rate_hz: int, data_bytes: int) -> bytes:
    """Of mono int16 PCM."""
    form = struct.pack("<HHIIHH", 1, 1, rate_hz, rate_hz * SAMPLE_BYTES, SAMPLE_BYTES, 8 * SAMPLE_BYTES)
    sizes = struct.pack("<I", data_bytes + HEADER_BYTES - 8), struct.pack("<I", data_bytes)
    return b"RIFF" + sizes[0] + b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + sizes[1]
