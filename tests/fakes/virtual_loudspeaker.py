"""What comes out at the other end of the sound server of `virtual_microphone`, as it comes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager

from tests.waiting import pump_until

RATE_HZ = 22_050
LOUD = 4_000
PIECE_BYTES = 882  # 20 ms


class LoudspeakerListener:
    """Records what the loudspeaker plays, with the times at which it arrives here."""

    def __init__(self, least: int) -> None:
        """`least`: what is above it is loud."""
        command = ["parec", "--device=spk.monitor", f"--rate={RATE_HZ}", "--channels=1", "--format=s16le", "--latency-msec=10", "--raw"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ)
        self.samples = array("h")
        self.loud_ns: list[int] = []
        """Monotonic, of each piece in which something was loud."""
        self._least = least
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def loud(self) -> int:
        """How many samples were."""
        return sum(abs(value) > self._least for value in self.samples)

    def _read(self) -> None:
        assert self.process.stdout is not None
        while piece := os.read(self.process.stdout.fileno(), PIECE_BYTES):
            heard = array("h", piece[: len(piece) & ~1])
            self.samples += heard
            if max(map(abs, heard), default=0) > self._least:
                self.loud_ns.append(time.monotonic_ns())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join(5)


@contextmanager
def listening(least: int = LOUD) -> Iterator[LoudspeakerListener]:
    """While the server runs; at the beginning it is certain that something comes."""
    listener = LoudspeakerListener(least)
    try:
        pump_until(lambda: listener.samples, lambda: time.sleep(0.01))
        yield listener
    finally:
        listener.close()


def tone(seconds: float) -> bytes:
    """Loud throughout: a square wave."""
    period = [12_000] * 50 + [-12_000] * 50
    return array("h", (period * round(seconds * RATE_HZ / len(period)))).tobytes()
