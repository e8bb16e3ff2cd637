"""A private PulseAudio: a microphone that a test feeds, and a silent loudspeaker. No hardware, up in a tenth of a second."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path

import pytest

PIECE_BYTES = 320  # 10 ms; larger ones make the pipe source's clock uneven, and the sound is no longer bit for bit
PACKAGES = "pulseaudio pulseaudio-utils libportaudio2 libasound2-plugins"

SERVER = """
load-module module-native-protocol-unix auth-anonymous=1 socket={dir}/native
load-module module-pipe-source source_name=mic file={dir}/mic.fifo format=s16le rate=16000 channels=1
load-module module-null-sink sink_name=spk rate=48000 channels=1
set-default-source mic
set-default-sink spk
"""


class VirtualMicrophone:
    """The server, and a thread that feeds its microphone in real time: silence, and now and then what `say` is given."""

    def __init__(self, directory: Path) -> None:
        self._dir = directory
        self._track = bytearray()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._feeder: threading.Thread | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def environ(self) -> dict[str, str]:
        return {
            "HOME": str(self._dir),
            "PULSE_RUNTIME_PATH": str(self._dir),
            "PULSE_SERVER": f"unix:{self._dir}/native",
        }

    def start(self) -> None:
        """Start the server and the feeding; return when it answers."""
        (self._dir / "native").unlink(missing_ok=True)
        (self._dir / "mic.fifo").unlink(missing_ok=True)
        (self._dir / "default.pa").write_text(SERVER.format(dir=self._dir))
        command = ["pulseaudio", "-n", "-F", f"{self._dir}/default.pa", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
        command += ["--realtime=no", "--high-priority=no", f"--log-target=file:{self._dir}/log"]
        self._server = subprocess.Popen(command, env={**os.environ, **self.environ}, start_new_session=True)
        self._wait_until_it_answers(deadline=time.monotonic() + 10)
        self._stopped.clear()
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        self._feeder.start()

    def say(self, pcm: bytes) -> None:
        """Feed this (int16 mono at 16 kHz) next, in real time."""
        with self._lock:
            self._track += pcm

    def kill(self) -> None:
        """The server dies, as by `kill -9`."""
        assert self._server is not None
        assert self._feeder is not None
        self._server.send_signal(signal.SIGKILL)
        self._server.wait(10)
        self._stopped.set()
        self._feeder.join(10)

    def stall(self) -> None:
        """The microphone falls silent: no sound, no error, nothing is closed."""
        self._control("suspend-source", "mic", "1")

    def resume(self) -> None:
        self._control("suspend-source", "mic", "0")

    def _control(self, *command: str) -> None:
        subprocess.run(["pactl", *command], env={**os.environ, **self.environ}, check=True, timeout=10)

    def _wait_until_it_answers(self, deadline: float) -> None:
        environ = {**os.environ, **self.environ}
        while subprocess.run(["pactl", "info"], env=environ, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, (self._dir / "log").read_text()
            self._stopped.wait(0.02)

    def _feed(self) -> None:
        fifo = os.open(self._dir / "mic.fifo", os.O_WRONLY)
        begin, pieces = time.monotonic(), 0
        while not self._stopped.wait(max(0.0, begin + pieces * 0.01 - time.monotonic())):
            with self._lock:
                piece = bytes(self._track[:PIECE_BYTES]).ljust(PIECE_BYTES, b"\0")
                del self._track[:PIECE_BYTES]
            try:
                os.write(fifo, piece)
            except BrokenPipeError:
                break
            pieces += 1
            begin = max(begin, time.monotonic() - pieces * 0.01)  # a microphone that was stalled does not catch up
        os.close(fifo)


@pytest.fixture
def microphone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualMicrophone]:
    missing = [program for program in ("pulseaudio", "pactl") if not shutil.which(program)]
    if not find_library("portaudio"):
        missing.append("libportaudio.so.2")
    if missing:
        pytest.skip(f"no {', '.join(missing)} here; apt-get install --no-install-recommends {PACKAGES}")
    virtual = VirtualMicrophone(tmp_path)
    for name, value in virtual.environ.items():
        monkeypatch.setenv(name, value)
    virtual.start()
    yield virtual
    virtual.kill()
