"""The client of the public tutorials for a voice assistant on a DGX Spark, made anew to be measured beside Earshot.

One loop does everything: it takes a frame of 30 ms, asks webrtcvad (mode 3), keeps the frames with speech and leaves out the others; when
none came for a second, by the clock of the loop, and two seconds of speech are there, it transcribes them with faster-whisper, asks the
language model's server, waits for the whole reply, and prints it. Nothing else happens meanwhile; frames wait in the queue of the thread
that captures. The numbers are the tutorials' own, but for `minimum_speech_s` where sentences would be too short to count.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import requests

from bench.instance import Pipe
from bench.sound import frames
from bus.limits import FRAME_MS, FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ

SILENCE_LIMIT_S = 1.0
MINIMUM_SPEECH_S = 2.0
VAD_MODE = 3
ROUNDS = 5
MAX_TOKENS = 512
SYSTEM_PROMPT = "You are a helpful voice assistant."
REQUEST_TIMEOUT_S = 60.0


class Detector(Protocol):
    """webrtcvad's."""

    def is_speech(self, pcm: bytes, sample_rate_hz: int, /) -> bool: ...


class Assistant(Protocol):
    """What the loop calls."""

    def is_speech(self, pcm: bytes) -> bool: ...

    def transcribe(self, pcm: bytes) -> str: ...

    def ask(self, text: str) -> Iterator[str]:
        """The reply in the pieces in which it is printed."""

    def now_s(self) -> float: ...


@dataclass(frozen=True)
class Answer:
    """What the loop printed for one utterance."""

    begin: int
    """First sample of its first speech."""
    text: str
    reply: str
    told_s: float
    """When the first of the reply was printed, by the loop's clock."""
    transcribed_s: float
    """How long it transcribed."""


class Tutorial:
    """The loop's body."""

    def __init__(self, assistant: Assistant, minimum_speech_s: float = MINIMUM_SPEECH_S) -> None:
        self._assistant = assistant
        self._minimum_speech_s = minimum_speech_s
        self._buffer: list[bytes] = []
        self._begin = 0
        self._last_speech_s = 0.0

    def take(self, first_sample: int, pcm: bytes) -> Answer | None:
        """The next frame; return what was printed, if anything. `first_sample` is for the measurement alone."""
        assistant = self._assistant
        if assistant.is_speech(pcm):
            if not self._buffer:
                self._begin = first_sample
            self._buffer.append(pcm)
            self._last_speech_s = assistant.now_s()
        elif self._buffer and assistant.now_s() - self._last_speech_s > SILENCE_LIMIT_S:
            speech, self._buffer = self._buffer, []
            if len(speech) * FRAME_MS / 1000 >= self._minimum_speech_s:
                return self._answer(b"".join(speech))
        return None

    def _answer(self, pcm: bytes) -> Answer:
        assistant = self._assistant
        begun_s = assistant.now_s()
        text = assistant.transcribe(pcm)
        transcribed_s = assistant.now_s() - begun_s
        reply, told_s = "", 0.0
        for piece in assistant.ask(text):
            told_s = told_s or assistant.now_s()
            reply += piece
        return Answer(self._begin, text, reply, told_s, transcribed_s)


class RealAssistant:
    """The libraries, called as the tutorials call them."""

    def __init__(self, model: str, url: str, served: str) -> None:
        import webrtcvad
        from faster_whisper import WhisperModel

        self._vad = webrtcvad.Vad(VAD_MODE)
        self._model = WhisperModel(model, device="cpu", compute_type="int8")
        self._url = f"{url}/chat/completions"
        self._served = served
        self.streamed = False
        """Whether the reply is printed as it comes; the tutorials wait for the whole of it."""
        self._history: list[dict[str, str]] = []
        self.now_s = time.monotonic
        self.transcribe(bytes(SAMPLE_BYTES * SAMPLE_RATE_HZ))  # the first run allocates; the tutorial's speaker would wait for that

    def is_speech(self, pcm: bytes) -> bool:
        return bool(self._vad.is_speech(pcm, SAMPLE_RATE_HZ))

    def transcribe(self, pcm: bytes) -> str:
        import numpy as np

        samples = np.frombuffer(pcm, dtype=np.int16).astype(np.float32) / 32768.0
        segments, _ = self._model.transcribe(samples, language="en")
        return " ".join(segment.text.strip() for segment in segments).strip()

    def ask(self, text: str) -> Iterator[str]:
        said = {"role": "user", "content": text}
        request = {
            "model": self._served,
            "messages": [{"role": "system", "content": SYSTEM_PROMPT}, *self._history[-2 * ROUNDS :], said],
            "max_tokens": min(MAX_TOKENS, max(64, 5 * len(text.split()))),
        }
        reply = ""
        for piece in self._stream(request) if self.streamed else self._whole(request):
            reply += piece
            yield piece
        self._history += [said, {"role": "assistant", "content": reply}]

    def _whole(self, request: dict[str, object]) -> Iterator[str]:
        response = requests.post(self._url, json=request, timeout=REQUEST_TIMEOUT_S)
        yield response.json()["choices"][0]["message"]["content"]

    def _stream(self, request: dict[str, object]) -> Iterator[str]:
        with requests.post(self._url, json={**request, "stream": True}, stream=True, timeout=REQUEST_TIMEOUT_S) as response:
            for line in response.iter_lines(chunk_size=1):
                data = line.removeprefix(b"data: ")
                if not data or data == b"[DONE]":
                    continue
                choices = json.loads(data)["choices"]
                if choices and (piece := choices[0]["delta"].get("content")):
                    yield piece


def shortest_speech_s(detector: Detector, pcm: bytes, places: list[tuple[int, int]]) -> float:
    """How much speech the loop would collect of the shortest of the sentences that lie there."""
    voiced = [detector.is_speech(frame, SAMPLE_RATE_HZ) for frame in frames(pcm)]
    return min(sum(voiced[begin // FRAME_SAMPLES : -(-end // FRAME_SAMPLES)]) for begin, end in places) * FRAME_MS / 1000


def run(pipe: Pipe, model: str, url: str, served: str) -> None:
    """In a process of its own: told (pcm, minimum speech s, streamed), play that at the pace of a microphone, and answer (when the first
    sample was heard in monotonic ns, what was printed)."""
    assistant = RealAssistant(model, url, served)
    pipe.send("ready")
    while True:
        try:
            pcm, minimum_speech_s, assistant.streamed = pipe.recv()
        except EOFError:
            return
        pipe.send(_hear(Tutorial(assistant, minimum_speech_s), pcm))


def _hear(tutorial: Tutorial, pcm: bytes) -> tuple[int, list[Answer]]:
    captured: queue.Queue[tuple[int, bytes] | None] = queue.Queue()
    begin_ns = time.monotonic_ns()
    threading.Thread(target=_capture, args=(captured, pcm, begin_ns), daemon=True).start()
    found = []
    while (item := captured.get()) is not None:
        answer = tutorial.take(*item)
        if answer is not None:
            found.append(answer)
    return begin_ns, found


def _capture(captured: queue.Queue[tuple[int, bytes] | None], pcm: bytes, begin_ns: int) -> None:
    """In the place of the thread that reads the device: each frame comes when its last sample has been spoken."""
    for number, frame in enumerate(frames(pcm)):
        wait_ns = begin_ns + (number + 1) * FRAME_MS * 1_000_000 - time.monotonic_ns()
        time.sleep(max(0, wait_ns) / 1e9)
        captured.put((number * FRAME_SAMPLES, frame))
    captured.put(None)
