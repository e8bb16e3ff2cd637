"""A voice and a speaker for tests, both without processes: what is made of a reply, and what is heard of it."""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass, field

import pytest

from actors.speaker.paced import Paced
from actors.speaker.playout import Playout, Reply
from actors.tts.clauses import clauses
from actors.tts.speech import Key
from actors.tts.talk import TICK_S, Action, Ended, Make, Send, Talk, Tell
from bus.clock import ManualClock
from bus.messages.voice import StopCause, VoiceDuck, VoiceHold, VoicePlayed, VoiceProgress, VoiceSound, VoiceStop

RATE_HZ = 8_000
STEP_S = 0.02
ONE = Key("turn-1", 10_001)
REPLY = "Well, yes, there is one. It has two sentences and a half, mind you. And so it ends."


def sound_of(text: str) -> bytes:
    """Some 20 ms of sound for each character, all of it different."""
    seed = sum(map(ord, text))
    return array("h", [(seed * 31 + place * 7) % 20_000 + 1 for place in range(160 * len(text))]).tobytes()


def whole_sound(text: str) -> bytes:
    return b"".join(sound_of(clause) for clause in clauses(text, "en"))


class Heard:
    """What came out of the loudspeaker."""

    def __init__(self) -> None:
        self.pcm = bytearray()

    def begin(self, rate_hz: int) -> None:
        assert rate_hz == RATE_HZ

    def write(self, pcm: bytes) -> None:
        self.pcm += pcm

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class Scene:
    """Both, and what passes between them."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(10**9))
    heard: Heard = field(default_factory=Heard)
    ended: list[Ended] = field(default_factory=list)
    told: list[VoicePlayed] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    stops: list[StopCause] = field(default_factory=list)
    trouble: str = ""
    failing: str = ""
    """A text of which no sound can be made."""
    lives: int = 0

    def __post_init__(self) -> None:
        self.to_speaker: deque[Send] = deque()
        self.start_speaker()
        self.start_voice()

    def start_voice(self) -> None:
        self.talk = Talk("en", self.clock.monotonic_ns)
        self.asked_ns = 0
        self.tell_progress()

    def start_speaker(self) -> None:
        """A new one knows what the note of the old one says."""
        self.lives += 1
        old = getattr(self, "playout", None)
        self.playout: Playout | None = Playout(Paced(self.clock.monotonic_ns, self.heard), volume=1.0, duck=0.25)
        if self.lives > 1 and old is not None and old.reply is not None:
            self.playout.resume(old.reply, old.place, old.state)

    def kill_speaker(self) -> Playout | None:
        self.to_speaker.clear()
        old, self.playout = self.playout, None
        return old

    def revive_speaker(self, old: Playout | None) -> None:
        self.playout = old
        self.start_speaker()

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    if self.playout is not None:
                        self.to_speaker.append(action)
                case Make(text=text) if text == self.failing:
                    self.talk.failed(action, "no voice for this")
                case Make(text=text):
                    self.made.append(text)
                    pcm = sound_of(text)
                    self.talk.made(action, RATE_HZ, pcm[: 1_001 * 2])
                    self.talk.made(action, RATE_HZ, pcm[1_001 * 2 :])
                    self.talk.is_made(action)
                case Ended():
                    self.ended.append(action)
                case Tell(body=body):
                    self.told.append(body)

    def tell_progress(self) -> None:
        if self.playout is not None:
            reply = self.playout.reply
            body = self.playout.progress()
            if self.trouble:
                body = VoiceProgress(state="waiting", trouble=self.trouble)
            self.talk.progress(reply.turn if reply else "", f"life {self.lives}", body)

    def step(self, *, lose: bool = False) -> None:
        self.clock.advance_s(STEP_S)
        if self.clock.monotonic_ns() - self.asked_ns >= TICK_S * 1e9:
            self.asked_ns = self.clock.monotonic_ns()
            self.tell_progress()
            self.talk.tick()
        while actions := self.talk.actions():
            self.do(actions)
        while self.to_speaker and self.playout is not None:
            sent = self.to_speaker.popleft()
            if not lose and not self.trouble:
                self.arrive(self.playout, sent)
        if self.playout is not None:
            self.playout.pump(self.clock.monotonic_ns())
            if not lose:
                self.tell_progress()

    def arrive(self, playout: Playout, sent: Send) -> None:
        now_ns = self.clock.monotonic_ns()
        reply = Reply(sent.key.turn, sent.key.attempt, sent.stream)
        match sent.body:
            case VoiceSound() as sound:
                playout.take(reply, sound, sent.pcm or b"", now_ns)
            case VoiceStop(attempt=attempt, cause=cause):
                self.stops.append(cause)
                if playout.reply is not None and playout.reply[:2] == (reply.turn, attempt):
                    playout.stop(now_ns, cause)
            case VoiceDuck(on=on):
                playout.duck(on, now_ns)
            case VoiceHold(on=on):
                playout.hold(on, now_ns)

    def until_ended(self, number: int = 1, seconds: float = 120.0) -> None:
        for _ in range(round(seconds / STEP_S)):
            if len(self.ended) >= number:
                return
            self.step()
        pytest.fail(f"not over within {seconds} s")

    def play(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.step()

    def say(self, text: str, key: Key = ONE) -> None:
        """As the language model does: in pieces."""
        self.talk.started(key, "mic")
        for index, begin in enumerate(range(0, len(text), 5)):
            self.talk.piece(key, "mic", index, text[begin : begin + 5])
