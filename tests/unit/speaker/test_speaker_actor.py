"""What the loudspeaker tells of a reply while it is heard."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import zmq

from actors.speaker import actor
from actors.speaker.actor import Speaker
from bus.clock import ManualClock
from bus.codec import Stamp
from bus.messages.voice import VoiceFinished, VoicePlaying, VoiceSound, VoiceStarted
from tests.fakes.audio_instance import Instance, Listener, settings
from tests.waiting import pump_until

RATE_HZ = 8_000


def test_that_it_sounds_is_told_again_and_again_and_anew_after_a_break(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The speaker's time is turned by hand: to it a machine that was busy elsewhere is a break too."""
    monkeypatch.setattr(actor, "TELL_PLAYING_NS", 200_000_000)
    monkeypatch.setattr(actor, "BREAK_NS", 150_000_000)
    clock = ManualClock(10**9)
    events = Listener("voice.")
    instance.start_planes()
    instance.start("listener", events)
    with monkeypatch.context() as patch:
        patch.setattr("actors.actor.SystemClock", lambda: clock)
        instance.start("speaker", Speaker, settings(speaker={"output": "none"}))

    def until(condition: Callable[[], object]) -> None:
        pump_until(condition, lambda: clock.advance_s(actor.PUMP_S), instance.turn)

    until(lambda: all(runtime._probe.heard for runtime, _ in instance._running.values()))
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
        until(lambda: speaker._playout.state == "waiting" and speaker._playout.place.clause == 1)
        silent_ns = speaker._playout.last_ns
        until(lambda: clock.monotonic_ns() > silent_ns + 300_000_000)
        until(lambda: len(playing()) >= 2)
        assert playing() == playing(silent_ns), "nothing is told while it is silent"
        play(1, last=True)
        until(lambda: "voice.finished" in events.topics())
    (started,) = [message.body for message in events.messages if isinstance(message.body, VoiceStarted)]
    (finished,) = [message.body for message in events.messages if isinstance(message.body, VoiceFinished)]
    before = playing(silent_ns)
    assert {body.since_ns for body in before} == {started.at_ns}
    (again_ns,) = {body.since_ns for body in playing()[len(before) :]}
    assert silent_ns + 300_000_000 <= again_ns < finished.at_ns
