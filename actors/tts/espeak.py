"""eSpeak NG in this process: small, quick and everywhere, and it sounds like a machine.

The library comes in the wheel `espeakng-loader`. It is licensed under the GPL, version 3 or later; see docs/voice.md. Its state is one for
the whole process, so there is one engine, and one thread at a time uses it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any, Final

import espeakng_loader

from actors.tts.engines import VoiceError
from bus.errors import SetupError

DEFAULT_VOICE: Final = "en"
_SYNCHRONOUS, _DONT_EXIT = 2, 0x8000
_RATE, _UTF8, _CHARACTERS = 1, 1, 1  # espeak_RATE; espeakCHARS_UTF8; POS_CHARACTER
_CALLBACK: Final[Callable[..., Any]] = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """Makes some hundred times as much sound as time passes, so a clause is made whole before any of it is handed out."""

    def __init__(self, voice: str = "", rate_wpm: int = 175) -> None:
        """Raise SetupError when the library does not load or has no such voice."""
        try:
            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise SetupError(f"eSpeak NG does not load ({error}); install espeakng-loader anew, or set tts.engine") from None
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        self._rate_hz = self._library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _DONT_EXIT)
        if self._rate_hz <= 0:
            raise SetupError("eSpeak NG does not start: its data is missing; install espeakng-loader anew, or set tts.engine")
        if self._library.espeak_SetVoiceByName((voice or DEFAULT_VOICE).encode()) != 0:
            raise SetupError(f"eSpeak NG has no voice {voice!r}; set tts.voice to one such as en, en-us, de or en-us+f3")
        self._library.espeak_SetParameter(_RATE, rate_wpm, 0)
        self._pieces: list[bytes] = []
        self._callback = _CALLBACK(self._on_sound)  # kept: the library calls it for as long as it lives
        self._library.espeak_SetSynthCallback(self._callback)
        list(self.synthesise("one"))  # warm: the first text reads the dictionary

    def synthesise(self, text: str) -> Iterator[tuple[int, bytes]]:
        self._pieces.clear()
        encoded = text.replace("\0", " ").encode()
        if self._library.espeak_Synth(encoded, len(encoded) + 1, 0, _CHARACTERS, 0, _UTF8, None, None) != 0:
            raise VoiceError("eSpeak NG could not make sound of a clause")
        yield self._rate_hz, b"".join(self._pieces)

    def give_up(self) -> None:
        """It is through in milliseconds."""

    def close(self) -> None:
        """The library ends with the process."""

    def _on_sound(self, samples: Any, number: int, _events: Any) -> int:
        if number > 0:
            self._pieces.append(ctypes.string_at(samples, 2 * number))
        return 0
