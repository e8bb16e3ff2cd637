"""The events of speech while an answer is being said, and what the voice does about them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal

import msgspec
import pytest

from actors.tts.barge_in import LATE_S, BargeIn, is_later
from actors.tts.talk import Said
from bus.clock import ManualClock
from bus.limits import SCHEMA_VERSION
from bus.messages.base import Body, Envelope, Message
from bus.messages.speech import SpeechConfirmed, SpeechEnded, SpeechSkipped, SpeechStarted, TranscriptPartial
from bus.settings import Settings, SpeakerSettings

STARTED = SpeechStarted(first_sample=0)
CONFIRMED = SpeechConfirmed(first_sample=0, speech_ms=240)
SKIPPED = SpeechSkipped(first_sample=0, speech_ms=150, minimum_ms=800)
ENDED = SpeechEnded(first_sample=0, end_sample=480, speech_ms=900)


def words(text: str) -> TranscriptPartial:
    return TranscriptPartial(text=text, stable_chars=0, revision=9)


class Room:
    """A voice that writes down what it is told, and the bus before it."""

    def __init__(self, min_words: int = 0, output: Literal["device", "none"] = "device") -> None:
        self.told: list[str] = []
        self.said: Said | None = Said("t1", "mic", "Two plus three is five.")
        self.clock = ManualClock()
        self._handlers: dict[str, Callable[[Message], None]] = {}
        rules = msgspec.structs.replace(Settings().interruption, min_words=min_words)
        runtime: Any = SimpleNamespace(
            settings=msgspec.structs.replace(Settings(), interruption=rules, speaker=SpeakerSettings(output=output)),
            clock=self.clock,
            subscribe=self._handlers.__setitem__,
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


def test_who_asked_is_not_interrupting_the_answer_when_news_of_the_end_of_the_question_are_lost(room: Room) -> None:
    answer, room.said = room.said, None
    room.tell(STARTED, turn="t1")
    room.tell(CONFIRMED, turn="t1")
    room.said = answer
    room.barge_in.tick()
    room.tell(CONFIRMED, turn="t1")
    assert room.told == []


def test_late_news_of_the_question_do_not_hide_who_speaks_after_it(room: Room) -> None:
    answer, room.said = room.said, None
    for turn in ("t1", "t2"):
        room.tell(STARTED, turn=turn)
        room.tell(CONFIRMED, turn=turn)
    room.tell(ENDED, turn="t1")
    room.said = answer
    room.barge_in.tick()
    assert room.told == ["duck", "stop", "restore"]


def test_speech_of_which_nothing_more_was_told_is_over_one_day(room: Room) -> None:
    answer, room.said = room.said, None
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.clock.advance_s(Settings().vad.maximum_s + LATE_S + 1)
    room.said = answer
    room.barge_in.tick()
    assert room.told == []


@pytest.mark.parametrize(
    ("turn", "answered", "later"),
    [
        ("mic-e1-480", "mic-e1-480", False),
        ("mic-e1-480", "mic-e1-1920", False),
        ("mic-e1-1920", "mic-e1-480", True),
        ("mic-e2-480", "mic-e1-1920", True),
        ("mic-e1-480", "say-7", True),
        ("say", "say", False),
    ],
)
def test_turns_of_one_epoch_are_told_apart_by_their_sample(turn: str, answered: str, later: bool) -> None:
    assert is_later(turn, answered) is later


def test_words_of_our_own_do_not_interrupt_and_words_of_others_do() -> None:
    room = Room(min_words=2)
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.tell(words("plus three"))
    room.tell(words("plus three is five"))
    assert room.told == ["duck", "restore"]
    room.tell(STARTED, turn="t3")
    room.tell(CONFIRMED, turn="t3")
    room.tell(words("Wait"), turn="t3")
    room.tell(words("Wait a moment"), turn="t3")
    assert room.told == ["duck", "restore", "duck", "stop", "restore"]


@pytest.mark.parametrize("min_words", [0, 2])
def test_what_was_found_to_be_our_own_is_not_taken_up_again_until_others_speak_in_it(min_words: int) -> None:
    room = Room(min_words=min_words)
    room.tell(STARTED)
    room.tell(words("two plus three is"))
    for _ in range(4):
        room.tell(CONFIRMED)
        room.barge_in.tick()
        room.tell(words("two plus three is five"))
        room.barge_in.tick()
    assert room.told == ["duck", "restore"]
    room.tell(words("two plus three is five no wait please stop talking"))
    assert room.told == ["duck", "restore", "duck", "stop", "restore"]


def test_without_a_loudspeaker_in_the_room_words_of_ours_are_a_users() -> None:
    room = Room(min_words=2, output="none")
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.tell(words("two plus three is five"))
    assert room.told == ["duck", "stop", "restore"]


def test_speech_of_which_no_words_come_makes_it_quieter_once_and_is_heeded_when_they_come() -> None:
    room = Room(min_words=1)
    room.tell(STARTED)
    room.tell(CONFIRMED)
    for _ in range(40):
        room.clock.advance_s(0.25)
        room.barge_in.tick()
    assert room.told == ["duck", "restore"]
    room.tell(words("Wait."))
    assert room.told == ["duck", "restore", "duck", "stop", "restore"]
