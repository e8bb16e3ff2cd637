"""The real ear: PortAudio on a PulseAudio whose microphone is spoken into, through the whole assistant."""

from __future__ import annotations

import soundfile

from bus.limits import SAMPLE_RATE_HZ
from bus.messages.audio import AudioGap
from tests.e2e.assistant import PATIENT, SPEECH, assistant, words
from tests.fakes.virtual_microphone import VirtualMicrophone, microphone

__all__ = ["microphone"]
MICROPHONE = ("mic.source=device", "mic.device=pulse", PATIENT)


def spoken(name: str) -> bytes:
    return bytes(soundfile.read(SPEECH / name, dtype="int16")[0].tobytes())


def test_what_is_spoken_into_the_microphone_is_answered(microphone: VirtualMicrophone) -> None:
    with assistant(*MICROPHONE) as listening:
        microphone.say(spoken("sum-rms.wav"))
        listening.wait_until(listening.remembered, interval_s=0.5)
        (turn,) = listening.remembered()
    assert (turn["stream"], turn["reply"]) == ("mic", "Two plus three is five.")
    assert words(turn["transcript"]) == words("what is two plus three")


def test_a_microphone_process_that_is_killed_is_back_tells_how_long_it_was_deaf_and_hears_on(microphone: VirtualMicrophone) -> None:
    with assistant(*MICROPHONE) as listening:
        microphone.say(spoken("sum-rms.wav"))
        listening.wait_until(listening.remembered, interval_s=0.5)
        with listening.events("audio.gap") as events:
            pid = listening.kill("mic")
            gap = events.wait_for("audio.gap", sender="mic").body  # the segmenter may miss a frame more, and tells that itself
            listening.wait_until_ready("mic", but_not_pid=pid)
        assert isinstance(gap, AudioGap)
        assert gap.cause == "restart"
        deaf_ms = gap.samples * 1000 // SAMPLE_RATE_HZ
        assert 0 < deaf_ms < 30_000
        lost = listening.status()["mic"]["losses"]
        assert lost["audio-restart-ms"] == deaf_ms
        assert f"mic: audio-restart {deaf_ms / 1000:.2f} s" in listening.run("status").stdout
        microphone.say(spoken("joke-slt.wav"))
        listening.wait_until(lambda: len(listening.remembered()) == 2, interval_s=0.5)
        assert words(listening.remembered()[1]["transcript"]) == words("tell me a joke please")
