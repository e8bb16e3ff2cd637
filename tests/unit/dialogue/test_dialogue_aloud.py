"""With a voice what is answered is said before it is remembered; without one it is remembered at once."""

from __future__ import annotations

from typing import Any

import pytest

from actors.actor import Runtime
from actors.dialogue.actor import AFTER_THE_MODEL, Dialogue
from bus.messages.jobs import Answered, Heard, Job, Parked, Remember, Say
from bus.messages.reply import ReplyFinished, ReplyWaiting
from bus.messages.voice import VoiceSay
from tests.fakes.audio_instance import Instance, Listener, Worker, settings

ROLES = {"plain": {"prompt": "Help.", "max_tokens": 64}}
ANSWER = Answered(transcript="why", role="plain", reply="Because.", finish_reason="stop", model="m", attempt=20_003)


class Me:
    """Hands jobs in."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def close(self) -> None:
        """Nothing is held."""


def follow_up(instance: Instance, engine: str, work: Any) -> tuple[Say | Remember, Listener]:
    """What comes of a job of the turn manager, and whoever hears what it says."""
    said, memory, replies = Worker("say"), Worker("memory"), Listener("reply.finished")
    instance.start_planes()
    instance.start("tts", said)
    instance.start("memory", memory)
    instance.start("listener", replies)
    instance.start("dialogue", Dialogue, settings(tts={"engine": engine}, dialogue={"roles": ROLES}))
    me = instance.start("me", Me)
    instance.until_ready()
    assert isinstance(me, Me)
    me.runtime.submit(Job(turn="turn-1", stream="mic", work=work, revision=2))
    instance.until(lambda: said.leases or memory.leases)
    found = next(lease.job.work for lease in (*said.leases, *memory.leases))
    assert isinstance(found, Say | Remember)
    return found, replies


def test_an_answer_is_said_under_the_number_of_its_reply(instance: Instance) -> None:
    work, _ = follow_up(instance, "espeak", ANSWER)
    assert work == Say(attempt=20_003, then=Remember(role="plain", state="answered", transcript="why", reply="Because."))


def test_without_a_voice_it_is_remembered_at_once(instance: Instance) -> None:
    work, _ = follow_up(instance, "none", ANSWER)
    assert isinstance(work, Remember)


@pytest.mark.parametrize(
    ("work", "number"),
    [
        (Heard(transcript="", speech_ms=5_000), 20_001),
        (Parked(failed_stage="answer", reason="no server", transcript="why"), 20_001 + AFTER_THE_MODEL),
    ],
)
def test_words_of_its_own_are_said_under_the_number_of_their_events(instance: Instance, work: Any, number: int) -> None:
    say, replies = follow_up(instance, "espeak", work)
    assert isinstance(say, Say)
    assert say.attempt == number
    instance.until(lambda: replies.messages)
    assert replies.messages[0].body == ReplyFinished(attempt=number, text=say.then.reply, finish_reason="local")


def test_where_there_is_nothing_to_say_nothing_is_said(instance: Instance) -> None:
    work, _ = follow_up(instance, "espeak", Heard(transcript="", rejected="silence", speech_ms=100))
    assert isinstance(work, Remember)


@pytest.mark.parametrize(
    ("engine", "texts", "told", "said"),
    [
        ("espeak", {}, [False], ["One moment, please. The language model doesn't answer yet."]),
        ("espeak", {"waiting": "Wait."}, [False, True], ["Wait."]),
        ("espeak", {"waiting": ""}, [False], []),
        ("none", {}, [False], []),
    ],
    ids=["in its own words", "not in the middle of an answer", "never", "without a voice"],
)
def test_who_waits_for_an_answer_is_told_so_aloud(
    engine: str, texts: dict[str, str], told: list[bool], said: list[str], instance: Instance
) -> None:
    heard, waits = Listener("voice.say"), Listener("reply.waiting")
    instance.start_planes()
    instance.start("listener", heard)
    instance.start("waits", waits)
    instance.start("dialogue", Dialogue, settings(tts={"engine": engine}, dialogue={"roles": ROLES, "texts": {"en": texts}}))
    me = instance.start("me", Me)
    instance.until_ready()
    assert isinstance(me, Me)
    for begun in told:
        me.runtime.publish(ReplyWaiting(reason="no answer after 3 s", begun=begun), turn="mic-1-480", stream="mic")
    instance.until(lambda: len(waits.messages) == len(told) and len(heard.messages) >= len(said))
    for _ in range(20):
        instance.turn()
    assert [(one.envelope.turn, one.envelope.stream, one.body) for one in heard.messages] == [
        ("waiting-mic-1-480", "mic", VoiceSay(text=text)) for text in said
    ]
