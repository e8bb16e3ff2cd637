"""An actor that is ready but cannot do its work says so, and the user is told once."""

from __future__ import annotations

from bus.codec import Stamp, decode
from bus.messages.actor import ActorState
from supervisor.views.conversation import Conversation

STAMP = Stamp("launcher", "1")


def state(actor: str, state: str, detail: str = "") -> str:
    return conversation.render(decode(STAMP.pack(ActorState(actor=actor, incarnation="1", state=state, detail=detail))))


conversation = Conversation()


def test_a_trouble_is_told_once_and_its_end_too() -> None:
    assert state("llm", "ready", "waiting for the LLM server") == "llm: waiting for the LLM server\n"
    assert state("llm", "ready", "waiting for the LLM server") == ""
    assert state("launcher", "ready") == "Listening...\n"
    assert state("llm", "ready") == "llm is well again\nListening...\n"
    assert state("llm", "ready") == ""


def test_without_a_microphone_nothing_claims_to_listen() -> None:
    assert state("mic", "ready", "there is no microphone; connect one") == "mic: there is no microphone; connect one\n"
    assert state("launcher", "ready") == ""
    assert state("mic", "ready") == "mic is well again\nListening...\n"
