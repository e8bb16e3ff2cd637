"""The voice as an actor, beside a loudspeaker and the planes, in one process."""

from __future__ import annotations

from typing import Any

import pytest

from actors.actor import Runtime
from actors.planes import DispatcherActor
from actors.speaker.actor import Speaker
from actors.tts.actor import Tts, remembered
from actors.tts.speech import Key
from actors.tts.talk import Ended
from bus.messages.jobs import Job, Remember, Say
from bus.messages.reply import ReplyDelta, ReplyStarted
from bus.messages.voice import VoiceCut, VoiceFinished, VoiceSay, VoiceStarted
from tests.fakes.audio_instance import Instance, Listener, Worker, settings

REPLY = "This takes a moment to say, and then it is over."


class Me:
    """Hands jobs and events in."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def close(self) -> None:
        """Nothing is held."""


def start(instance: Instance, **speaker: Any) -> tuple[Me, Worker, Listener]:
    memory, events = Worker("memory"), Listener("voice.")
    instance.start_planes()
    instance.start("memory", memory)
    instance.start("listener", events)
    instance.start("speaker", Speaker, settings(speaker={"output": "none", **speaker}))
    instance.start("tts", Tts)
    me = instance.start("me", Me)
    instance.until_ready()
    assert isinstance(me, Me)
    return me, memory, events


def say(me: Me, reply: str) -> None:
    then = Remember(role="plain", state="answered", transcript="why", reply=reply)
    me.runtime.submit(Job(turn="turn-1", stream="mic", work=Say(attempt=10_001, then=then), revision=1))


def test_its_lease_does_not_run_out_while_it_speaks(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.tts.actor.EXTEND_S", 0.1)
    me, memory, _ = start(instance)
    say(me, REPLY)
    dispatcher = instance._running["dispatcher"][1]
    assert isinstance(dispatcher, DispatcherActor)

    def deadlines() -> list[int]:
        entries = dispatcher._dispatcher._board.entries.values()
        return [hold.deadline_ns for entry in entries if entry.job.stage == "say" for hold in entry.holds.values()]

    instance.until(deadlines)
    (first,) = deadlines()
    instance.until(lambda: deadlines() and deadlines()[0] > first)
    instance.until(lambda: memory.leases)
    assert isinstance(memory.leases[0].job.work, Remember)
    assert memory.leases[0].job.work.detail == ""


def test_it_begins_with_the_first_clause_though_the_rest_is_not_there(instance: Instance) -> None:
    me, memory, events = start(instance)
    me.runtime.publish(ReplyStarted(attempt=10_001, model="m"), turn="turn-1", stream="mic")
    me.runtime.publish(ReplyDelta(attempt=10_001, index=0, text="This takes a moment, and"), turn="turn-1", stream="mic")
    instance.until(lambda: any(isinstance(message.body, VoiceStarted) for message in events.messages))
    assert not memory.leases
    say(me, "This takes a moment, and no more.")
    instance.until(lambda: memory.leases)


def test_a_newer_attempt_cuts_the_older_one_and_says_that_it_was_that(instance: Instance) -> None:
    me, _, events = start(instance)
    me.runtime.publish(ReplyStarted(attempt=10_001, model="m"), turn="turn-1", stream="mic")
    me.runtime.publish(ReplyDelta(attempt=10_001, index=0, text="This takes a moment, and"), turn="turn-1", stream="mic")
    instance.until(lambda: any(isinstance(message.body, VoiceStarted) for message in events.messages))
    me.runtime.publish(ReplyStarted(attempt=10_002, model="m"), turn="turn-1", stream="mic")

    def cuts() -> list[VoiceCut]:
        return [message.body for message in events.messages if isinstance(message.body, VoiceCut)]

    instance.until(cuts)
    assert [(cut.attempt, cut.cause) for cut in cuts()] == [(10_001, "newer")]


@pytest.mark.parametrize("noticed", ["", "interrupted"])
def test_of_an_answer_that_was_cut_it_is_remembered_once_that_it_was_interrupted(noticed: str) -> None:
    then = Remember(role="plain", state="answered", transcript="why", reply="Because it is.", detail=noticed)
    kept = remembered(then, Ended(Key("turn-1", 10_001), "cut", "Because"))
    assert (kept.detail, kept.reply) == ("interrupted", "Because")


def test_it_says_what_it_is_told_to_outside_of_any_turn(instance: Instance) -> None:
    me, memory, events = start(instance, pace="fast")
    me.runtime.publish(VoiceSay(text="Hello."), turn="say-1", stream="say")
    instance.until(lambda: any(isinstance(message.body, VoiceFinished) for message in events.messages))
    assert not memory.leases


def test_what_is_said_stands_in_no_log(instance: Instance, capfd: pytest.CaptureFixture[str]) -> None:
    me, memory, _ = start(instance, output="file", file="/proc/nowhere/secret.wav")
    say(me, "The password is swordfish.")
    instance.until(lambda: memory.leases)
    output = capfd.readouterr()
    assert "not heard" in output.err
    assert "swordfish" not in output.out + output.err
