"""Words that the microphone hears while the voice says them are the assistant's own; the same words from elsewhere are a user's."""

from __future__ import annotations

from typing import Any

import pytest

from actors.dialogue.actor import Dialogue
from bus.messages.jobs import Heard, Job, Remember
from bus.messages.voice import VoicePlayed, VoicePlaying
from bus.timings import SPEECH_END
from tests.fakes.audio_instance import Instance, Listener, Worker, settings

S = 1_000_000_000
ROLES = {"plain": {"prompt": "Help.", "max_tokens": 64}}
PHRASES = {"en": {"stop": ["stop", "please stop it now"]}}
ANSWER = "Two plus three is five. Your name is Anna. Please stop it now, yes."


def is_ignored(instance: Instance, transcript: str, stream: str = "mic", tables: dict[str, Any] | None = None) -> bool:
    """Whether the turn ends as nothing, when this is heard in the middle of ANSWER."""
    memory, recall = Worker("memory"), Worker("recall")
    instance.start_planes()
    instance.start("memory", memory)
    instance.start("recall", recall)
    instance.start("says", Worker("say"))
    dialogue = instance.start("dialogue", Dialogue, settings(dialogue={"roles": ROLES, "phrases": PHRASES}, **(tables or {})))
    last = Listener("voice.played")
    instance.start("speaker", last)
    instance.until_ready()
    runtime = instance._running["speaker"][0]
    assert isinstance(dialogue, Dialogue)
    now_ns = runtime.clock.monotonic_ns()
    runtime.publish(VoicePlaying(attempt=1, since_ns=now_ns - 5 * S, at_ns=now_ns), turn="t1", stream="mic")
    runtime.publish(VoicePlayed(attempt=1, clause=0, samples=10, text=ANSWER), turn="t1", stream="mic")
    instance.until(lambda: last.messages and (dialogue._own_voice._answers.get("t1") or not dialogue._hears_itself))
    for _ in range(20):
        instance.turn()
    work = Heard(transcript=transcript, speech_ms=1000)
    runtime.submit(Job(turn="t2", stream=stream, work=work, revision=1, marks={SPEECH_END: now_ns - S}))
    instance.until(lambda: memory.leases or recall.leases or instance._running["says"][1].leases)  # type: ignore[attr-defined]
    return any(isinstance(lease.job.work, Remember) and lease.job.work.state == "ignored" for lease in memory.leases)


def test_the_microphone_hears_our_own_words(instance: Instance) -> None:
    assert is_ignored(instance, "two plus three is five")


@pytest.mark.parametrize("transcript", ["Five.", "Yes.", "Stop.", "My name is Anna.", "Please stop it now.", "What is five plus five?"])
def test_what_a_user_says_into_an_answer_is_heard(instance: Instance, transcript: str) -> None:
    assert not is_ignored(instance, transcript)


def test_a_file_that_is_heard_says_the_same_words_and_means_them(instance: Instance) -> None:
    assert not is_ignored(instance, "two plus three is five", stream="hear")


@pytest.mark.parametrize("tables", [{"speaker": {"output": "none"}}, {"speaker": {"output": "file"}}, {"mic": {"source": "file"}}])
def test_where_no_room_is_between_voice_and_microphone_nothing_is_an_echo(instance: Instance, tables: dict[str, Any]) -> None:
    assert not is_ignored(instance, "two plus three is five", tables=tables)
