"""`supervisor say`: have the running assistant say something, to try its voice."""

from __future__ import annotations

import secrets
from typing import Final

from bus.addresses import Addresses
from bus.errors import EarshotError
from bus.limits import MAX_TEXT_CHARS
from bus.messages.voice import VoiceCut, VoiceFinished, VoiceSay, VoiceStarted
from supervisor.client import status
from supervisor.filters import Wanted
from supervisor.tapping import Tap

BEGIN_S: Final = 15.0
"""Longest wait for the beginning: something else may be said just then, but not for ever."""
PER_CHARACTER_S: Final = 0.3
"""No voice takes longer for one."""
VOICE: Final = "tts"
SPEAKER: Final = "speaker"


def say(addresses: Addresses, text: str) -> None:
    """Return once it has been heard. Raise EarshotError when it was not."""
    if not any(actor.actor == VOICE for actor in status(addresses).actors):
        raise EarshotError('this assistant has no voice: tts.engine is "none"')
    if len(text) > MAX_TEXT_CHARS:
        raise EarshotError(f"this is too much to be said at once: {len(text)} characters, and {MAX_TEXT_CHARS} can be")
    turn = f"say-{secrets.token_hex(4)}"
    with Tap(addresses, Wanted(topics=("voice.*",), turn=turn)) as tap:
        tap.publisher.publish(VoiceSay(text=text), turn=turn, stream="say")
        has_begun = False
        for message in tap.messages(timeout_s=BEGIN_S + PER_CHARACTER_S * len(text)):
            match message.body:
                case VoiceStarted():
                    has_begun = True
                case VoiceFinished():
                    return
                case VoiceCut():
                    break
    what = "it was not heard to its end" if has_begun else "nothing was heard of it"
    raise EarshotError("; ".join([what, *(troubles(addresses) or ["see `supervisor logs tts`"])]))


def troubles(addresses: Addresses) -> list[str]:
    """Why the voice cannot be heard just now, as far as its actors know."""
    return [actor.trouble for actor in status(addresses).actors if actor.actor in (VOICE, SPEAKER) and actor.trouble]
