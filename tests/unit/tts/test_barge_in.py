"""The events of speech while an answer is being said, and what the voice does about them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from actors.tts.barge_in import BargeIn
from bus.clock import ManualClock
from bus.limits import SCHEMA_VERSION
from bus.messages.base import Body, Envelope, Message
from bus.messages.speech import SpeechConfirmed, SpeechEnded, SpeechSkipped, SpeechStarted, TranscriptPartial
from bus.settings import Settings

STARTED = SpeechStarted(first_sample=0)
CONFIRMED = SpeechConfirmed(first_sample=0, speech_ms=240)
SKIPPED = SpeechSkipped(first_sample=0, speech_ms=150, minimum_ms=800)
ENDED = SpeechEnded(first_sample=0, end_sample=480, speech_ms=900)


class Room:
    """A voice that writes down what it is told, and the bus before it."""

    def __init__(self, min_words: int = 0) -> None:
        self.told: list[str] = []
        self.said: tuple[str, str] | None = ("mic", "Two plus three is five.")
        self._handlers: dict[str, Callable[[Message], None]] = {}
        rules = msgspec.structs.replace(Settings().interruption, min_words=min_words)
        runtime: Any = SimpleNamespace(
            settings=msgspec.structs.replace(Settings(), interruption=rules), clock=ManualClock(), subscribe=self._handlers.__setitem__
        )
        talk: Any = self
        self.barge_in = BargeIn(runtime, talk, lambda: None)

    def duck(self, on: bool) -> None:
        self.told.append("duck" if on else "restore")

    def interrupt(self) -> None:
        self.told.append("stop")
        self.said = None

    def tell(self, body: Body, turn: str = "t2", stream: str = "mic") -> None:
        envelope = Envelope(version=SCHEMA_VERSION, sender="x", incarnation="1", seq=0, mono_ns=0, wall_ns=0, turn=turn, stream=stream)
        self._handlers[body.topic](Message(body.topic, envelope, body))


@pytest.fixture
def room() -> Room:
    return Room()


def test_a_cough_makes_it_quieter_for_a_moment(room: Room) -> None:
    room.tell(STARTED)
    room.tell(SKIPPED)
    assert room.told == ["duck", "restore"]


def test_speech_ends_the_answer_and_the_next_one_is_as_loud_as_ever(room: Room) -> None:
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.tell(ENDED)
    assert room.told == ["duck", "stop", "restore"]


def test_what_is_said_in_another_stream_is_not_about_this_answer(room: Room) -> None:
    room.tell(STARTED, stream="other")
    room.tell(CONFIRMED, stream="other")
    assert room.told == []


def test_who_was_speaking_already_when_the_answer_began_has_the_word(room: Room) -> None:
    answer, room.said = room.said, None
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.said = answer
    room.barge_in.tick()
    assert room.told == ["duck", "stop", "restore"]


def test_an_answer_that_ends_meanwhile_leaves_nothing_quieter(room: Room) -> None:
    room.tell(STARTED)
    room.said = None
    room.barge_in.tick()
    assert room.told == ["duck", "restore"]


def test_words_of_our_own_do_not_interrupt_and_words_of_others_do() -> None:
    room = Room(min_words=2)
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.tell(TranscriptPartial(text="plus three is", stable_chars=0, revision=9))
    assert room.told == ["duck", "restore"]
    room.tell(STARTED, turn="t3")
    room.tell(CONFIRMED, turn="t3")
    room.tell(TranscriptPartial(text="Wait", stable_chars=0, revision=9), turn="t3")
    room.tell(TranscriptPartial(text="Wait a moment", stable_chars=0, revision=12), turn="t3")
    assert room.told == ["duck", "restore", "duck", "stop", "restore"]
