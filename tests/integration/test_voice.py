"""Real processes: what is said is heard, each sample once, although the voice or the loudspeaker is killed in the middle.

The engine is a server on a real socket whose sound depends on the words alone; the loudspeaker writes what it plays into a WAV at the pace
of real time. Beside them run a broker and a dispatcher; the test submits the work and takes what follows from it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import soundfile

from bus.addresses import Addresses
from bus.messages.base import Body
from bus.messages.jobs import Job, Remember, Say
from bus.messages.reply import ReplyDelta, ReplyFinished, ReplyStarted
from bus.messages.voice import VoiceFinished, VoicePlayed, VoiceStarted
from bus.timings import FIRST_SOUND, LAST_SOUND
from tests.fakes.actor_processes import Processes
from tests.fakes.audio_instance import Instance, Listener, Worker
from tests.fakes.voice_server import RATE_HZ, VoiceServer, sound_of
from tests.waiting import pump_until

# Some 0.06 s of sound for each character: about 9 s.
CLAUSES = [
    "Well, of course,",
    "it is not far from here.",
    "You go straight on until you come to the river.",
    "There you turn left, and then you see it.",
    "Good luck!",
]
REPLY = " ".join(CLAUSES)
ATTEMPT = 10_001


def sound(clauses: list[str]) -> bytes:
    return b"".join(sound_of(clause) for clause in clauses)


class Voice:
    """A voice and a loudspeaker, and what the test does and hears beside them."""

    def __init__(self, addresses: Addresses, instance: Instance, file: Path, server: VoiceServer, **changes: Any) -> None:
        self.server = server
        self.file = file
        values = {"tts.engine": "openai", "tts.url": server.url, "tts.model": "m", "speaker.output": "file", "speaker.file": str(file)}
        self.processes = Processes(addresses, {**values, **changes})
        self.instance = instance
        for name in ("broker", "dispatcher"):
            self.processes.start_until_ready(name)
        self.speaker = self.processes.start_until_ready("speaker")
        self.tts = self.processes.start_until_ready("tts")
        self.listener = Listener("voice.")
        self.memory = Worker("memory")
        instance.start("listener", self.listener)
        instance.start("memory", self.memory)
        self.me = instance.start("me", Me)
        instance.until_ready()

    def say(self, turn: str = "turn-1", text: str = REPLY) -> None:
        """The job of the voice, as the turn manager hands it on."""
        then = Remember(role="plain", state="answered", transcript="where is it", reply=text)
        assert isinstance(self.me, Me)
        self.me.runtime.submit(Job(turn=turn, stream="mic", work=Say(attempt=ATTEMPT, then=then), revision=1))

    def tell(self, *bodies: Body, turn: str = "turn-1") -> None:
        assert isinstance(self.me, Me)
        for body in bodies:
            self.me.runtime.publish(body, turn=turn, stream="mic")

    def remembered(self, number: int = 1) -> Remember:
        self.until(lambda: len(self.memory.leases) >= number)
        work = self.memory.leases[number - 1].job.work
        assert isinstance(work, Remember)
        return work

    def heard(self) -> bytes:
        return bytes(soundfile.read(self.file, dtype="int16")[0].tobytes()) if self.file.exists() else b""

    def until_heard(self, seconds: float) -> None:
        self.until(lambda: self.file.exists() and self.file.stat().st_size > 2 * RATE_HZ * seconds)

    def until(self, condition: Callable[[], object]) -> None:
        """Turn the actors in here, and listen to those that are processes, until the condition holds."""
        pump_until(condition, self.instance.turn, self.processes.listen)

    def events(self, kind: type[Body]) -> list[Any]:
        return [message.body for message in self.listener.messages if isinstance(message.body, kind)]


class Me:
    """The test, as an actor."""

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime

    def close(self) -> None:
        """Nothing is held."""


Starter = Callable[..., Voice]


@pytest.fixture
def start() -> Iterator[Starter]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ear")))
        addresses = Addresses(directory / "run", directory / "state")
        addresses.prepare()
        server = stack.enter_context(VoiceServer().running())
        instance = Instance(addresses)
        stack.callback(instance.close)

        def begin(**changes: Any) -> Voice:
            voice = Voice(addresses, instance, directory / "said.wav", server, **changes)
            stack.callback(voice.processes.close)
            return voice

        yield begin


def test_a_reply_is_spoken_as_it_comes_and_all_of_it_is_heard_once(start: Starter) -> None:
    voice = start()
    begun_ns = time.monotonic_ns()
    voice.tell(ReplyStarted(attempt=ATTEMPT, model="m"))
    voice.tell(*(ReplyDelta(attempt=ATTEMPT, index=index, text=f"{word} ") for index, word in enumerate(REPLY.split()[:12])))
    voice.until(lambda: voice.events(VoiceStarted))
    voice.tell(ReplyFinished(attempt=ATTEMPT, text=REPLY, finish_reason="stop"))
    voice.say()
    then = voice.remembered()
    assert (then.reply, then.detail) == (REPLY, "")
    assert voice.heard() == sound(CLAUSES)
    voice.until(lambda: voice.events(VoiceFinished))
    voice.until(lambda: any(body.text == REPLY for body in voice.events(VoicePlayed)))
    marks = voice.memory.leases[0].job.marks
    assert begun_ns < voice.events(VoiceStarted)[0].at_ns == marks[FIRST_SOUND]
    took_s = (marks[LAST_SOUND] - marks[FIRST_SOUND]) / 1e9
    assert took_s > len(sound(CLAUSES)) / 2 / RATE_HZ - 0.5


@pytest.mark.parametrize("victim", ["tts", "speaker"])
@pytest.mark.parametrize("after_s", [0.3, 2.5])
def test_whoever_is_killed_in_the_middle_every_sample_is_heard_once(start: Starter, victim: str, after_s: float) -> None:
    voice = start()
    voice.say()
    voice.until_heard(after_s)
    Processes.kill(getattr(voice, victim))
    assert len(voice.heard()) < len(sound(CLAUSES))
    voice.processes.start_until_ready(victim)
    then = voice.remembered()
    assert (then.reply, then.detail) == (REPLY, "")
    assert voice.heard() == sound(CLAUSES)


def test_both_killed_at_once_are_no_worse(start: Starter) -> None:
    voice = start()
    voice.say()
    voice.until_heard(1.0)
    Processes.kill(voice.tts)
    Processes.kill(voice.speaker)
    voice.processes.start_until_ready("speaker")
    voice.processes.start_until_ready("tts")
    assert voice.remembered().reply == REPLY
    assert voice.heard() == sound(CLAUSES)


def test_two_turns_are_spoken_one_after_the_other(start: Starter) -> None:
    voice = start(**{"speaker.pace": "fast"})
    voice.say("turn-1", "The first one, that is.")
    voice.say("turn-2", "The second one, that is.")
    voice.remembered(2)
    assert voice.heard() == sound(["The first one,", "that is.", "The second one,", "that is."])


def test_without_a_loudspeaker_the_reply_is_remembered_whole_and_why_it_was_not_heard(start: Starter) -> None:
    voice = start(**{"speaker.file": "/proc/nowhere/said.wav"})
    voice.say()
    then = voice.remembered()
    assert then.reply == REPLY
    assert then.detail.startswith("not spoken: what is spoken cannot be written")
    voice.until(lambda: "cannot be written" in voice.processes.troubles.get(voice.speaker.pid, ""))


def test_a_voice_server_that_fails_is_told_and_the_next_reply_is_heard(start: Starter) -> None:
    voice = start(**{"speaker.pace": "fast"})
    voice.server.status = 500
    voice.say("turn-1", "One thing.")
    assert "answered with status 500" in voice.remembered().detail
    voice.server.status = 200
    voice.say("turn-2", "Another thing.")
    assert voice.remembered(2).detail == ""
    assert voice.heard() == sound_of("Another thing.")


def test_no_message_of_a_stranger_harms_the_loudspeaker(start: Starter) -> None:
    import zmq

    voice = start(**{"speaker.pace": "fast"})
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.connect(voice.processes.addresses.voice)
        for frames in ([b"nonsense"], [b"voice.sound", b"\xc1"], [b"probe", b"\x92\x90\x80", b""], [b""] * 5):
            stranger.send_multipart(frames)
        voice.say("turn-1", "One thing.")
        voice.remembered()
    assert voice.heard() == sound_of("One thing.")
    assert voice.speaker.poll() is None


def test_with_the_built_in_voice_a_reply_can_be_heard(start: Starter) -> None:
    voice = start(**{"tts.engine": "espeak", "speaker.pace": "fast"})
    voice.say()
    assert voice.remembered().detail == ""
    pcm, rate_hz = soundfile.read(voice.file, dtype="int16")
    assert rate_hz == 22_050
    assert 5 < len(pcm) / rate_hz < 20
    assert abs(pcm).max() > 3_000
    assert voice.tts.poll() is None
