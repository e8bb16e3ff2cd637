"""Any server that speaks OpenAI's `/audio/speech`: Kokoro-FastAPI, speaches, vLLM-Omni, and many more.

It is asked for WAV, which says its own rate; what comes is handed on as it comes. The sizes in the header mean nothing in a stream.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

import requests
import urllib3.exceptions

from actors.tts.engines import VoiceError
from bus.errors import SetupError
from bus.settings import TtsSettings

CONNECT_S: Final = 3.0
LONGEST_CLAUSE_S: Final = 120.0
PIECE_BYTES: Final = 8_192
LONGEST_HEADER_BYTES: Final = 65_536
USUAL_WPM: Final = 175
_PCM, _EXTENSIBLE = 1, 0xFFFE


class Openai:
    """Asks the server for one clause after the other."""

    def __init__(self, settings: TtsSettings, api_key: str) -> None:
        """The words a minute become the server's `speed`, 1 for 175. The server may still be starting: it is not waited for here."""
        if not settings.url or not settings.model:
            raise SetupError("the voice of a server needs tts.url and tts.model")
        self._url = f"{settings.url.rstrip('/')}/audio/speech"
        self._asked = {
            "model": settings.model,
            "voice": settings.voice or "alloy",
            "response_format": "wav",
            "speed": round(settings.rate_wpm / USUAL_WPM, 2),
        }
        self._timeout_s = settings.timeout_s
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy of the environment gets to hear of it
        if api_key:
            self._session.headers["Authorization"] = f"Bearer {api_key}"
        self._response: requests.Response | None = None

    def synthesise(self, text: str) -> Iterator[tuple[int, bytes]]:
        try:
            with self._session.post(
                self._url,
                json={**self._asked, "input": text},
                stream=True,
                allow_redirects=False,
                timeout=(CONNECT_S, self._timeout_s),
            ) as response:
                self._response = response
                if response.status_code != 200:
                    raise VoiceError(f"the voice server at {self._url} answered with status {response.status_code}; see its log")
                yield from pcm_of_wav(self._pieces(response), self._url)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, AttributeError) as error:
            # AttributeError: what urllib3 raises in the reading thread when `close` is called from another.
            if isinstance(error, requests.ReadTimeout) or any(
                isinstance(cause, urllib3.exceptions.ReadTimeoutError) for cause in error.args
            ):
                raise VoiceError(f"the voice server at {self._url} sent nothing for {self._timeout_s:g} s") from None
            raise VoiceError(f"the voice server at {self._url} cannot be used ({type(error).__name__}); is it running?") from None
        finally:
            self._response = None

    def give_up(self) -> None:
        response = self._response
        if response is not None:
            with suppress(OSError, ValueError, RuntimeError, AttributeError):  # it has just ended by itself
                response.raw.shutdown()  # `close` would not wake whoever reads

    def close(self) -> None:
        self.give_up()
        self._session.close()

    def _pieces(self, response: Any) -> Iterator[bytes]:
        deadline_s = time.monotonic() + LONGEST_CLAUSE_S
        for piece in response.iter_content(PIECE_BYTES):
            if time.monotonic() > deadline_s:
                raise VoiceError(f"the voice server at {self._url} took longer than {LONGEST_CLAUSE_S:g} s for one clause")
            yield piece


def pcm_of_wav(pieces: Iterable[bytes], source: str) -> Iterator[tuple[int, bytes]]:
    """The rate and the samples of a WAV that arrives in pieces. Raises VoiceError when it is not mono int16 PCM."""
    rest, rate_hz = b"", 0
    for piece in pieces:
        rest += piece
        if not rate_hz:
            found = _header(rest, source)
            if found is None:
                continue
            rate_hz, begin = found
            rest = rest[begin:]
        whole = len(rest) & ~1
        if whole:
            yield rate_hz, rest[:whole]
            rest = rest[whole:]
    if not rate_hz:
        raise VoiceError(f"{source} sent something else than a WAV")


def _header(data: bytes, source: str) -> tuple[int, int] | None:
    """The rate, and where the samples begin; None: more of it is needed."""
    if len(data) >= 12 and (data[:4], data[8:12]) != (b"RIFF", b"WAVE"):
        raise VoiceError(f"{source} sent something else than a WAV")
    place, rate_hz = 12, 0
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if name == b"data":
            if not rate_hz:
                break
            return rate_hz, place + 8
        if place + 8 + size > len(data):
            break
        if name == b"fmt " and size >= 16:
            kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", data, place + 8)
            if kind not in (_PCM, _EXTENSIBLE) or channels != 1 or bits != 16 or not 4_000 <= rate_hz <= 192_000:
                raise VoiceError(f"{source} sent a WAV of another kind than mono int16 PCM")
        place += 8 + size + size % 2
    if len(data) > LONGEST_HEADER_BYTES:
        raise VoiceError(f"{source} sent a WAV without sound")
    return None
