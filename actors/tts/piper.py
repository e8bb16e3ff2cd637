"""Piper, or any program that reads text and writes raw PCM: a process of its own, for it is licensed under the GPL and may crash.

Where the sound of one text ends and that of the next begins cannot be told from raw PCM, so each clause has a process of its own, whose
end is the end of its sound. The next one is started ahead: it loads its voice while the clause before it is being spoken. When this process
is killed, theirs end at the end of their input.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shlex
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from actors.tts.engines import VoiceError
from bus.errors import SetupError

USUAL_RATE_HZ: Final = 22_050
PIECE_BYTES: Final = 8_192
WARM_UP: Final = "One."


class Piper:
    """Speaks with a command such as `piper --model VOICE.onnx --output-raw`."""

    def __init__(self, command: str, rate_hz: int, timeout_s: float) -> None:
        """`timeout_s`: for each piece of sound, the first with the loading of the voice. Raise SetupError when it cannot speak."""
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise SetupError(f"tts.piper_command cannot be read ({error})") from None
        if not self._command:
            raise SetupError("tts.piper_command is empty; set it to a command such as `piper --model VOICE.onnx --output-raw`")
        self._rate_hz = rate_hz or rate_of_voice(self._command)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._closed = False
        self._spare: subprocess.Popen[bytes] | None = None
        self._speaking: subprocess.Popen[bytes] | None = None
        try:
            list(self.synthesise(WARM_UP))
        except VoiceError as error:
            raise SetupError(f"{error}; see tts.piper_command") from None

    def synthesise(self, text: str) -> Iterator[tuple[int, bytes]]:
        child = self._take()
        try:
            yield from ((self._rate_hz, pcm) for pcm in self._sound(child, text))
        finally:
            self._end(child)

    def give_up(self) -> None:
        with self._lock:
            if self._speaking is not None:
                self._speaking.kill()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            children = [child for child in (self._spare, self._speaking) if child is not None]
            self._spare = None
        for child in children:
            child.kill()
            child.wait()

    def _take(self) -> subprocess.Popen[bytes]:
        """The process that was started ahead; another takes its place."""
        with self._lock:
            if self._closed:
                raise VoiceError("the voice is being closed")
            child = self._spare if self._spare is not None and self._spare.poll() is None else self._start()
            self._speaking, self._spare = child, self._start()
            return child

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # it may repeat what it is given
            )
        except OSError as error:
            raise VoiceError(f"{self._command[0]} cannot be started: {error.strerror}") from None

    def _sound(self, child: subprocess.Popen[bytes], text: str) -> Iterator[bytes]:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(" ".join(text.split()).encode() + b"\n")
            child.stdin.close()
        except OSError:
            raise VoiceError(f"{self._command[0]} ended before it was given anything to say") from None
        odd = b""
        while True:
            if not select.select([child.stdout], [], [], self._timeout_s)[0]:
                raise VoiceError(f"{self._command[0]} made no sound for {self._timeout_s:g} s")
            read = os.read(child.stdout.fileno(), PIECE_BYTES)
            if not read:
                break
            pcm = odd + read
            odd = pcm[len(pcm) & ~1 :]
            if len(pcm) > 1:
                yield pcm[: len(pcm) & ~1]
        try:
            status = child.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            return  # it has closed its output; `_end` ends it
        if status != 0:
            raise VoiceError(f"{self._command[0]} ended with status {status}")

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._speaking = None
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def rate_of_voice(command: Sequence[str]) -> int:
    """The rate that stands in the description beside the voice, in Hz; the usual one where none can be read."""
    for flag, value in itertools.pairwise(command):
        if flag in ("--model", "-m"):
            try:
                rate_hz = json.loads(Path(f"{value}.json").read_text())["audio"]["sample_rate"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if isinstance(rate_hz, int) and 4_000 <= rate_hz <= 192_000:
                return rate_hz
    return USUAL_RATE_HZ
