"""Name of an actor → where its class is. A string, so that a process imports only the actor it is."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING

from bus.errors import SetupError

if TYPE_CHECKING:
    from actors.actor import ActorClass

ACTORS = {
    "broker": "actors.planes:BrokerActor",
    "dispatcher": "actors.planes:DispatcherActor",
    "mic": "actors.mic.actor:Mic",
    "vad": "actors.vad.actor:Vad",
    "whisper": "actors.whisper.actor:Whisper",
    "dialogue": "actors.dialogue.actor:Dialogue",
    "memory": "actors.memory.actor:Memory",
    "llm": "actors.llm.actor:Llm",
    "tts": "actors.tts.actor:Tts",
    "speaker": "actors.speaker.actor:Speaker",
    "metrics": "actors.metrics.actor:Metrics",
    "recorder": "actors.recorder.actor:Recorder",
    "gate": "actors.gate:Gate",
    "rehearsal-llm": "actors.rehearsal_llm.actor:RehearsalLlm",
}


def find(name: str) -> ActorClass:
    """Import and return the class of actor `name`; `whisper-2` is the second `whisper`. Raise SetupError for a stranger."""
    place = ACTORS.get(name) or ACTORS.get(re.sub(r"-\d+$", "", name))
    if place is None:
        raise SetupError(f"there is no actor {name!r}; there are {', '.join(ACTORS)}")
    module, _, attribute = place.partition(":")
    found: ActorClass = getattr(import_module(module), attribute)
    return found
