"""Has crashes written down, by processes of their own: the launcher never waits for a disk."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from bus.addresses import Addresses
from supervisor.modules import command
from supervisor.process import open_log

AT_ONCE: Final = 2
"""More crashes at a time are one trouble and not many: the rest is not written down."""
PATIENCE_S: Final = 3.0


class Undertaker:
    """Starts the writers, and reaps them."""

    def __init__(self, addresses: Addresses, environ: Mapping[str, str], log: Path, tell: Callable[[str], None], *, active: bool) -> None:
        """The writers write to `log`; `tell` gets a line for a crash that is not kept."""
        self._addresses = addresses
        self._environ = environ
        self._log = log
        self._tell = tell
        self._active = active
        self._writers: list[subprocess.Popen[bytes]] = []

    def write_down(self, *, actor: str, incarnation: str, how: str, reason: str, phase: str, up_s: float) -> None:
        """Keep what there is of a crash."""
        self.reap()
        if not self._active:
            return
        if len(self._writers) >= AT_ONCE:
            self._tell(f"the crash of {actor} is not kept: {len(self._writers)} are being written")
            return
        crash = {
            "actor": actor,
            "incarnation": incarnation,
            "how": how,
            "reason": reason,
            "phase": phase,
            "up_s": round(up_s, 3),
            "wall_ns": time.time_ns(),
        }
        with suppress(OSError), os.fdopen(open_log(self._log), "ab") as log:
            self._writers.append(
                subprocess.Popen(
                    command("supervisor.crashes", json.dumps(crash)),
                    env={**self._environ, **self._addresses.environ},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    process_group=0,
                )
            )

    def reap(self) -> None:
        """Bury the writers that are through."""
        self._writers = [writer for writer in self._writers if writer.poll() is None]

    def close(self) -> None:
        """Let them finish, within reason."""
        end_s = time.monotonic() + PATIENCE_S
        for writer in self._writers:
            try:
                writer.wait(max(0.0, end_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                writer.kill()
                writer.wait()
