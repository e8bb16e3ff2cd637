"""A private PulseAudio: a microphone that a test feeds, and a loudspeaker that it listens to. No hardware, up in a tenth of a second."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path

import pytest

from tests.waiting import DEADLINE_S

PIECE_BYTES = 320  # 10 ms; larger ones make the pipe source's clock uneven, and the sound is no longer bit for bit
PACKAGES = "pulseaudio pulseaudio-utils libportaudio2 libasound2-plugins"
RECORDING_RATE_HZ = 16_000

MICROPHONE = ("module-pipe-source", "source_name=mic", "file={dir}/mic.fifo", "format=s16le", "rate=16000", "channels=1")
LOUDSPEAKER = ("module-null-sink", "sink_name=spk", "rate=48000", "channels=1")
SERVER = """
load-module module-native-protocol-unix auth-anonymous=1 socket={dir}/native
load-module {microphone}
load-module {loudspeaker}
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
        self._recorder: subprocess.Popen[bytes] | None = None

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
        modules = {"microphone": " ".join(MICROPHONE).format(dir=self._dir), "loudspeaker": " ".join(LOUDSPEAKER)}
        (self._dir / "default.pa").write_text(SERVER.format(dir=self._dir, **modules))
        command = ["pulseaudio", "-n", "-F", f"{self._dir}/default.pa", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
        command += ["--realtime=no", "--high-priority=no", f"--log-target=file:{self._dir}/log"]
        self._server = subprocess.Popen(command, env={**os.environ, **self.environ}, start_new_session=True)
        self._wait_until_it_answers(deadline=time.monotonic() + DEADLINE_S)
        self._start_feeding()

    def kill(self) -> None:
        """The server dies, as by `kill -9`."""
        assert self._server is not None
        self._server.send_signal(signal.SIGKILL)
        self._server.wait(DEADLINE_S)
        self._stop_feeding()
        if self._recorder is not None:
            self._recorder.wait(DEADLINE_S)

    def freeze(self) -> None:
        """The server does nothing any more, and closes nothing."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)

    # -- the microphone -----------------------------------------------------------------------------------------------

    def say(self, pcm: bytes) -> None:
        """Feed this (int16 mono at 16 kHz) next, in real time."""
        with self._lock:
            self._track += pcm

    def stall(self) -> None:
        """The microphone falls silent: no sound, no error, nothing is closed."""
        self.control("suspend-source", "mic", "1")

    def resume(self) -> None:
        self.control("suspend-source", "mic", "0")

    def unplug_microphone(self) -> None:
        """It is gone, with what it was still to say."""
        self.control("unload-module", "module-pipe-source")
        self._stop_feeding()
        self._track.clear()

    def plug_in_microphone(self) -> None:
        self.control("load-module", *(word.format(dir=self._dir) for word in MICROPHONE))
        self._start_feeding()

    # -- the loudspeaker ----------------------------------------------------------------------------------------------

    def unplug_loudspeaker(self) -> None:
        self.control("unload-module", "module-null-sink")

    def plug_in_loudspeaker(self) -> None:
        self.control("load-module", *LOUDSPEAKER)

    def play(self, pcm: bytes, rate_hz: int) -> None:
        """Somebody else plays something (int16 mono); return at its end."""
        form = ("--raw", "--format=s16le", "--channels=1", f"--rate={rate_hz}", "--device=spk")
        subprocess.run(["pacat", *form], input=pcm, env={**os.environ, **self.environ}, check=True, timeout=DEADLINE_S)

    @contextmanager
    def recording(self) -> Iterator[Path]:
        """What comes out of the loudspeaker meanwhile, in a file: int16 mono at RECORDING_RATE_HZ, without a header."""
        path = self._dir / "recording.raw"
        form = ("--raw", "--format=s16le", "--channels=1", f"--rate={RECORDING_RATE_HZ}", "--device=spk.monitor", "--latency-msec=20")
        with path.open("wb") as file:
            self._recorder = subprocess.Popen(["parec", *form], stdout=file, env={**os.environ, **self.environ})
        try:
            deadline = time.monotonic() + DEADLINE_S
            while not path.stat().st_size:
                assert time.monotonic() < deadline, "nothing is recorded"
                time.sleep(0.02)
            yield path
        finally:
            self._recorder.terminate()
            self._recorder.wait(DEADLINE_S)

    # -- in here ------------------------------------------------------------------------------------------------------

    def control(self, *command: str) -> None:
        """Have `pactl` do something."""
        subprocess.run(["pactl", *command], env={**os.environ, **self.environ}, check=True, timeout=DEADLINE_S, stdout=subprocess.DEVNULL)

    def _wait_until_it_answers(self, deadline: float) -> None:
        environ = {**os.environ, **self.environ}
        while subprocess.run(["pactl", "info"], env=environ, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, (self._dir / "log").read_text()
            time.sleep(0.02)

    def _start_feeding(self) -> None:
        self._stopped.clear()
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        self._feeder.start()

    def _stop_feeding(self) -> None:
        assert self._feeder is not None
        self._stopped.set()
        self._feeder.join(DEADLINE_S)

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


@contextmanager
def virtual_microphone(directory: Path) -> Iterator[VirtualMicrophone]:
    """A server that runs; what is started meanwhile uses it."""
    missing = [program for program in ("pulseaudio", "pactl") if not shutil.which(program)]
    if not find_library("portaudio"):
        missing.append("libportaudio.so.2")
    if missing:
        pytest.skip(f"no {', '.join(missing)} here; apt-get install --no-install-recommends {PACKAGES}")
    virtual = VirtualMicrophone(directory)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in virtual.environ.items():
            patch.setenv(name, value)
        virtual.start()
        try:
            yield virtual
        finally:
            virtual.kill()


@pytest.fixture
def microphone(tmp_path: Path) -> Iterator[VirtualMicrophone]:
    with virtual_microphone(tmp_path) as virtual:
        yield virtual
