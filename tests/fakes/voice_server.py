"""A server with `/v1/audio/speech`, on a real socket. What it answers to a text is always the same sound."""

from __future__ import annotations

import hashlib
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RATE_HZ = 16_000
SAMPLES_PER_CHAR = 1_000


def sound_of(text: str, rate_hz: int = RATE_HZ) -> bytes:
    """PCM that depends on every character of the text, and on nothing else: 1,000 samples for each, none of them 0."""
    noise = hashlib.shake_128(text.encode()).digest(2 * SAMPLES_PER_CHAR * len(text))
    return b"".join(struct.pack("<h", (value % 16_000) + 1) for (value,) in struct.iter_unpack("<H", noise))


def wav_of(pcm: bytes, rate_hz: int = RATE_HZ) -> bytes:
    """As servers stream it: the sizes are not known yet."""
    unknown = 0xFFFFFFFF
    form = struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return b"RIFF" + struct.pack("<I", unknown) + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", unknown) + pcm


class VoiceServer:
    """Answers with `sound_of` the text. `status` and `hangs` make it misbehave."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.status = 200
        self.hangs = False
        self.body: bytes | None = None
        """Sent in the place of a WAV."""
        self.released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(asked)
                server.keys.append(self.headers.get("Authorization", ""))
                self.send_response(server.status if self.path == "/v1/audio/speech" else 404)
                self.end_headers()
                if server.hangs:
                    server.released.wait(30)
                    return
                body = wav_of(sound_of(asked["input"])) if server.body is None else server.body
                for begin in range(0, len(body), 5_001):  # of no size that anything is a multiple of
                    self.wfile.write(body[begin : begin + 5_001])

            def log_message(self, format: str, *args: Any) -> None:
                """The test's output is for the test."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @contextmanager
    def running(self) -> Iterator[VoiceServer]:
        thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.released.set()
            self._http.shutdown()
            self._http.server_close()
            thread.join()
