"""Real processes: a segmenter that is killed in mid-utterance, and what it hands on, sample for sample.

The sound is written into the source's pipe ten times as fast as it was spoken, as far as a seeded moment; then the segmenter, which
follows it, is killed and another one started. No speech worker runs, so the `transcribe` jobs stay in the spool with their sound,
and are read there.
"""

from __future__ import annotations

import functools
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from bus.addresses import Addresses
from bus.messages.jobs import Job, Transcribe
from supervisor.notify import NotifySocket
from tests.fakes.audio_speech import jfk_pcm
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
FRAME_BYTES = 960
SETTINGS = {"mic.source": "stdin", "vad.preset": "conversation", "vad.minimum_speech_s": 0.8, "vad.silence_limit_s": 0.6}
SEED = int(os.environ.get("SEED", "1"))
KILLS = 5
PACE_S = 0.003


@functools.cache
def sound() -> bytes:
    """Two speeches with a pause between: long enough that the engines relieve each other twice."""
    pause = bytes(3 * 32_000)
    pcm = jfk_pcm() + pause + jfk_pcm()[: 5 * 32_000] + pause
    return pcm[: len(pcm) // FRAME_BYTES * FRAME_BYTES]


class Processes:
    """Actors without a launcher."""

    def __init__(self, addresses: Addresses, engine: str) -> None:
        self.addresses = addresses
        settings = {**SETTINGS, "vad.engine": engine}
        self._options = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
        self._stack = ExitStack()
        self._notify = NotifySocket(str(addresses.notify_socket))
        self._stack.callback(self._notify.close)
        self._ready: set[int] = set()

    def start_until_ready(self, name: str) -> subprocess.Popen[bytes]:
        """Start it and wait until it says that it is ready: it then follows the source."""
        process = self.start(name)

        def is_ready() -> bool:
            self._ready |= {notice.pid for notice in self._notify.receive() if "READY" in notice.values}
            return process.pid in self._ready

        wait_until(is_ready, deadline_s=60)
        return process

    def start(self, name: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "actors", name, *self._options],
            cwd=ROOT,
            env={**os.environ, **self.addresses.environ, "EARSHOT_PARENT_PID": str(os.getpid()), "NOTIFY_SOCKET": self._notify.address},
            stdin=subprocess.PIPE,
        )
        self._stack.callback(self.kill, process)
        return process

    @staticmethod
    def kill(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def jobs(self) -> list[tuple[Job, bytes]]:
        """What was handed on so far, in the order of the speech."""
        with closing(sqlite3.connect(f"file:{self.addresses.spool}?mode=ro", uri=True)) as spool:
            rows = spool.execute("SELECT job, payload FROM jobs LEFT JOIN payloads USING (number)").fetchall()
        jobs = [(msgspec.msgpack.decode(job, type=Job), payload) for job, payload in rows]
        return sorted(jobs, key=lambda pair: _first_sample(pair[0]))

    def close(self) -> None:
        self._stack.close()


def _first_sample(job: Job) -> int:
    assert isinstance(job.work, Transcribe)
    return job.work.first_sample


@contextmanager
def processes(engine: str) -> Iterator[Processes]:
    with tempfile.TemporaryDirectory(prefix="ear") as directory:
        addresses = Addresses(Path(directory) / "run", Path(directory) / "state")
        addresses.prepare()
        running = Processes(addresses, engine)
        try:
            yield running
        finally:
            running.close()


def hear(engine: str, killed_at: list[int]) -> list[tuple[int, int, bytes]]:
    """Let new processes hear the sound, killing the segmenter after so many frames were written: (first sample, speech ms, PCM)."""
    with processes(engine) as running:
        for name in ("broker", "dispatcher"):
            running.start(name)
        mic, vad = running.start("mic"), running.start_until_ready("vad")
        assert mic.stdin is not None
        for number in range(len(sound()) // FRAME_BYTES):
            if number in killed_at:
                running.kill(vad)
                vad = running.start_until_ready("vad")
            mic.stdin.write(sound()[number * FRAME_BYTES : (number + 1) * FRAME_BYTES])
            mic.stdin.flush()
            time.sleep(PACE_S)  # waits for nothing: so fast the sound comes in
        mic.stdin.close()
        wait_until(lambda: mic.poll() is not None, deadline_s=60)  # it ends when all of it is in the spool
        assert mic.returncode == 0
        return [(_first_sample(job), job.work.speech_ms, pcm) for job, pcm in running.jobs() if isinstance(job.work, Transcribe)]


@pytest.mark.parametrize("engine", ["webrtc", "silero"])
def test_with_and_without_kills_the_same_utterances_are_handed_on_sample_for_sample(engine: str) -> None:
    undisturbed = hear(engine, [])
    assert len(undisturbed) >= 2
    for first_sample, _, pcm in undisturbed:
        assert pcm == sound()[2 * first_sample :][: len(pcm)]
    moments = sorted(random.Random(SEED).sample(range(20, len(sound()) // FRAME_BYTES), KILLS))
    assert hear(engine, moments) == undisturbed, f"killed after the frames {moments}"
