"""What every engine of the voice is to the actor, and which one the settings name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Protocol

from bus.errors import EarshotError, SetupError
from bus.settings import TtsSettings


class VoiceError(EarshotError):
    """A text could not be made into sound; the message says why, for the user, and holds nothing of the text."""


class Engine(Protocol):
    """Makes sound of text, one text at a time. It is used by one thread alone, but for the last two."""

    def synthesise(self, text: str) -> Iterator[tuple[int, bytes]]:
        """Yield the sound of `text` as it comes: its rate in Hz, always the same for one engine, and mono int16 PCM, whole samples.

        Raises VoiceError.
        """

    def give_up(self) -> None:
        """Nobody wants what is being made, if anything is: end it soon. May be called from another thread."""

    def close(self) -> None:
        """Give up what is being made, and give everything back. May be called from another thread."""


def load(settings: TtsSettings, language: str = "", environ: Mapping[str, str] = os.environ) -> Engine:
    """The engine of the settings, loaded and warm. `language`: the ISO code of what is to be said, where it is known. Raises SetupError for
    what only the user can put right."""
    if settings.engine == "espeak":
        from actors.tts.espeak import Espeak

        return Espeak(settings.voice, settings.rate_wpm, language)
    if settings.engine == "piper":
        from actors.tts.piper import Piper

        return Piper(settings.piper_command, settings.piper_rate_hz, settings.timeout_s)
    if settings.engine == "openai":
        from actors.tts.openai import Openai

        return Openai(settings, environ.get(settings.api_key_env, ""))
    raise SetupError(f'tts.engine is "{settings.engine}": there is nothing to speak with; set it to espeak, piper or openai')
