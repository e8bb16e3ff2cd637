"""The launcher's own log: one line for each thing that happened to a child. Read with `supervisor logs launcher`."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path


class Journal:
    """Appends lines to a file. A disk that cannot be written loses lines and nothing else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def write(self, text: str) -> None:
        """Write one line, with the local time before it."""
        time = datetime.now().astimezone().isoformat(timespec="milliseconds")
        with suppress(OSError):
            if self._fd is None:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.write(self._fd, f"{time} {text}\n".encode())

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
