"""How far a source of sound had come when it was killed, for its successor.

Kept in a file of the runtime directory that is mapped into memory, so that a frame costs two stores and no system call; what
was stored survives SIGKILL. A source that ends as it should removes the file.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_EPOCH_AT = 36  # after the boot id; then two int64, each written in one store
_NEWEST, _CAPTURED = 6, 7
_BYTES = 64


@dataclass(frozen=True, slots=True)
class Death:
    """Where a predecessor was when it was killed."""

    epoch: str
    newest_sample: int
    captured_ns: int
    """Monotonic time of the last sample before `newest_sample`."""


class LifeSign:
    """The file of one source. Where it cannot be written the source does without."""

    def __init__(self, path: Path, epoch: str) -> None:
        """Read what a killed predecessor left; it stays there until the first `note`. `epoch` has 8 ASCII characters."""
        self._path = path
        self._epoch = epoch.encode()
        self._begun = False
        boot = _boot_id()
        self.predecessor = _read(path, boot)
        self._memory: mmap.mmap | None = None
        with suppress(OSError):
            if self.predecessor is None:
                # Written, not only made so long: a page that the disk has no room for would be a SIGBUS at the first store.
                path.write_bytes(boot.ljust(_BYTES, b"\0"))
            with path.open("r+b") as file:
                self._memory = mmap.mmap(file.fileno(), _BYTES)
            self._numbers = memoryview(self._memory).cast("q")

    def note(self, newest_sample: int, captured_ns: int) -> None:
        """Everything before `newest_sample` has been captured, the last of it at `captured_ns`."""
        if self._memory is not None:
            if not self._begun:
                self._begun = True
                self._memory[_EPOCH_AT : _EPOCH_AT + len(self._epoch)] = self._epoch
            self._numbers[_NEWEST] = newest_sample
            self._numbers[_CAPTURED] = captured_ns

    def remove(self) -> None:
        """The source ends as it should."""
        if self._memory is not None:
            self._numbers.release()
            self._memory.close()
            self._memory = None
        self._path.unlink(missing_ok=True)


def _read(path: Path, boot: bytes) -> Death | None:
    """None: there was no predecessor, it had captured nothing, it ended as it should, or that was before the machine was started."""
    try:
        data = path.read_bytes()
        numbers = memoryview(data).cast("q")
        epoch = data[_EPOCH_AT : _EPOCH_AT + 8].decode("ascii")
    except (OSError, ValueError, TypeError):
        return None
    if len(data) != _BYTES or data[:_EPOCH_AT] != boot or not numbers[_CAPTURED]:
        return None
    return Death(epoch, numbers[_NEWEST], numbers[_CAPTURED])


def _boot_id() -> bytes:
    """Monotonic times of another boot mean nothing."""
    try:
        return BOOT_ID.read_bytes().strip().ljust(_EPOCH_AT, b"-")[:_EPOCH_AT]
    except OSError:
        return b"-" * _EPOCH_AT
