"""What the loudspeaker tells of a reply while it is heard."""

from __future__ import annotations

import math

import pytest
import zmq

from actors.speaker import actor
from actors.speaker.actor import Speaker
from bus.codec import Stamp
from bus.messages.voice import VoiceFinished, VoicePlaying, VoiceSound, VoiceStarted
from tests.fakes.audio_instance import Instance, Listener, settings

RATE_HZ = 8_000


def test_that_it_sounds_is_told_again_and_again_and_anew_after_a_break(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor, "TELL_PLAYING_NS", 200_000_000)
    monkeypatch.setattr(actor, "BREAK_NS", 150_000_000)
    events = Listener("voice.")
    instance.start_planes()
    instance.start("listener", events)
    instance.start("speaker", Speaker, settings(speaker={"output": "none"}))
    instance.until_ready()
    with zmq.Context() as context, context.socket(zmq.DEALER) as voice:
        voice.linger = 0
        voice.connect(instance.addresses.voice)

        def play(clause: int, *, last: bool) -> None:
            sound = VoiceSound(attempt=1, clause=clause, first_sample=0, rate_hz=RATE_HZ, ends=True, last=last)
            voice.send_multipart(Stamp("tts", "1").pack(sound, turn="t1", stream="mic", payload=bytes(2 * RATE_HZ)))

        def playing(until_ns: float = math.inf) -> list[VoicePlaying]:
            """What was told, of that time and before it."""
            return [
                message.body for message in events.messages if isinstance(message.body, VoicePlaying) and message.body.at_ns <= until_ns
            ]

        play(0, last=False)
        speaker = instance._running["speaker"][1]
        assert isinstance(speaker, Speaker)
        instance.until(lambda: speaker._playout.state == "waiting" and speaker._playout.place.clause == 1)
        silent_ns = speaker._playout.last_ns
        instance.until(lambda: speaker._runtime.clock.monotonic_ns() > silent_ns + 300_000_000)
        instance.until(lambda: len(playing()) >= 2)
        assert playing() == playing(silent_ns), "nothing is told while it is silent"
        play(1, last=True)
        instance.until(lambda: "voice.finished" in events.topics())
    (started,) = [message.body for message in events.messages if isinstance(message.body, VoiceStarted)]
    (finished,) = [message.body for message in events.messages if isinstance(message.body, VoiceFinished)]
    before = playing(silent_ns)
    assert {body.since_ns for body in before} == {started.at_ns}
    (again_ns,) = {body.since_ns for body in playing()[len(before) :]}
    assert silent_ns + 300_000_000 <= again_ns < finished.at_ns
