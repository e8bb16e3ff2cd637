"""eSpeak NG in this process: small, quick and everywhere, and it sounds like a machine.

The library comes in the wheel `espeakng-loader`. It is licensed under the GPL, version 3 or later; see docs/voice.md. Its state is one for
the whole process, so there is one engine, and one thread at a time uses it.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import espeakng_loader

from actors.tts.engines import VoiceError
from bus.errors import SetupError

DEFAULT_VOICE: Final = "en"
VOICES: Final = {"zh": "cmn", "no": "nb"}
"""Of languages that have other codes than their voices."""
_SYNCHRONOUS, _DONT_EXIT = 2, 0x8000
_RATE, _UTF8, _CHARACTERS = 1, 1, 1  # espeak_RATE; espeakCHARS_UTF8; POS_CHARACTER
_CALLBACK: Final[Callable[..., Any]] = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """Makes some hundred times as much sound as time passes, so a clause is made whole before any of it is handed out."""

    def __init__(self, voice: str = "", rate_wpm: int = 175, language: str = "") -> None:
        """Without a `voice` it is that of the language (ISO code), or the English one where there is none. Raise SetupError when the
        library does not load or has no such voice."""
        self._voices = (voice,) if voice else tuple(filter(None, (VOICES.get(language, language), DEFAULT_VOICE)))
        self._rate_wpm = rate_wpm
        self._library = _library()
        with self._library.lock:
            self._choose_voice()
        list(self.synthesise("one"))  # warm: the first text reads the dictionary

    def synthesise(self, text: str) -> Iterator[tuple[int, bytes]]:
        encoded = text.replace("\0", " ").encode()
        with self._library.lock:
            if self._library.user is not self:
                self._choose_voice()
            sound = self._library.synthesise(encoded)
        yield self._library.rate_hz, sound

    def give_up(self) -> None:
        """It is through in milliseconds."""

    def close(self) -> None:
        """The library ends with the process."""

    def _choose_voice(self) -> None:
        self._library.user = self
        if all(self._library.calls.espeak_SetVoiceByName(voice.encode()) != 0 for voice in self._voices):
            raise SetupError(f"eSpeak NG has no voice {self._voices[0]!r}; set tts.voice to one such as en, en-us, de or en-us+f3")
        self._library.calls.espeak_SetParameter(_RATE, self._rate_wpm, 0)


class _Library:
    """The library as it is in this process: begun once, for to begin it again corrupts its memory."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.user: Espeak | None = None  # whose voice is set
        try:
            self.calls = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise SetupError(f"eSpeak NG does not load ({error}); install espeakng-loader anew, or set tts.engine") from None
        self.calls.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        self.rate_hz = self.calls.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _DONT_EXIT)
        if self.rate_hz <= 0:
            raise SetupError("eSpeak NG does not start: its data is missing; install espeakng-loader anew, or set tts.engine")
        self._pieces: list[bytes] = []
        self._callback = _CALLBACK(self._on_sound)  # kept: the library calls it for as long as it lives
        self.calls.espeak_SetSynthCallback(self._callback)

    def synthesise(self, encoded: bytes) -> bytes:
        self._pieces.clear()
        if self.calls.espeak_Synth(encoded, len(encoded) + 1, 0, _CHARACTERS, 0, _UTF8, None, None) != 0:
            raise VoiceError("eSpeak NG could not make sound of a clause")
        return b"".join(self._pieces)

    def _on_sound(self, samples: Any, number: int, _events: Any) -> int:
        if number > 0:
            self._pieces.append(ctypes.string_at(samples, 2 * number))
        return 0


_library = functools.cache(_Library)
