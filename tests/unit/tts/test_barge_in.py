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
from bus.messages.speech import SpeechConfirmed, SpeechEnded, SpeechSkipped, SpeechStarted, TranscriptFinal, TranscriptPartial
from bus.settings import Settings, SpeakerSettings

STARTED = SpeechStarted(first_sample=0)
CONFIRMED = SpeechConfirmed(first_sample=0, speech_ms=240)
SKIPPED = SpeechSkipped(first_sample=0, speech_ms=150, minimum_ms=800)
ENDED = SpeechEnded(first_sample=0, end_sample=480, speech_ms=900)


def words(text: str) -> TranscriptPartial:
    return TranscriptPartial(text=text, stable_chars=0, revision=9)


def at_pause(text: str, speech_ms: int = 1200) -> TranscriptPartial:
    return TranscriptPartial(text=text, stable_chars=0, revision=9, at_pause=True, speech_ms=speech_ms)


def final(text: str, rejected: str = "", speech_ms: int = 1200) -> TranscriptFinal:
    return TranscriptFinal(
        text=text, audio_ms=speech_ms, decode_ms=1, avg_logprob=0.0, no_speech_prob=0.0, rejected=rejected, speech_ms=speech_ms
    )


class Room:
    """A voice that writes down what it is told, and the bus before it."""

    def __init__(self, min_words: int = 0, output: Literal["device", "none"] = "device") -> None:
        self.told: list[str] = []
        self.said: Said | None = Said("t1", "mic", "Two plus three is five.")
        self.clock = ManualClock()
        self._is_held = self._is_ducked = False
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
        if on != self._is_ducked:
            self._is_ducked = on
            self.told.append("duck" if on else "restore")

    def hold(self, on: bool) -> None:
        if on != self._is_held:
            self._is_held = on
            self.told.append("hold" if on else "go on")

    def interrupt(self) -> None:
        self.told.append("stop")
        self.said = None

    def tell(self, body: Body, turn: str = "t2", stream: str = "mic") -> None:
        envelope = Envelope(version=SCHEMA_VERSION, sender="x", incarnation="1", seq=0, mono_ns=0, wall_ns=0, turn=turn, stream=stream)
        self._handlers[body.topic](Message(body.topic, envelope, body))


@pytest.fixture
def room() -> Room:
    return Room()


HELD = ["duck", "hold"]
GOES_ON = ["restore", "go on"]
ENDS = ["stop", "restore", "go on"]


def test_a_click_makes_it_quieter_for_a_moment(room: Room) -> None:
    room.tell(STARTED)
    room.tell(SKIPPED)
    assert room.told == ["duck", "restore"]


@pytest.mark.parametrize("text", ["", "Mhm."])
def test_a_cough_makes_it_silent_and_then_it_goes_on(room: Room, text: str) -> None:
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.tell(at_pause(text, 400))
    room.tell(SKIPPED)
    assert room.told == [*HELD, *GOES_ON]


def test_a_long_laugh_too(room: Room) -> None:
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.tell(ENDED)
    room.tell(final("", "no-speech", 3000))
    assert room.told == [*HELD, *GOES_ON]


@pytest.mark.parametrize("text", ["Stop.", "Wait!"])
def test_stop_alone_ends_the_answer_although_it_is_no_turn(room: Room, text: str) -> None:
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.tell(at_pause(text, 400))
    room.tell(SKIPPED)
    assert room.told == [*HELD, *ENDS]


def test_stop_ends_it_although_its_words_are_late(room: Room) -> None:
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.tell(SKIPPED)
    assert room.told == HELD
    room.tell(at_pause("Stop.", 400))
    assert room.told == [*HELD, *ENDS]


def test_speech_ends_the_answer_once_its_words_are_known_and_the_next_one_is_as_loud_as_ever(room: Room) -> None:
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.tell(ENDED)
    assert room.told == HELD
    room.tell(final("And what is four plus four?"))
    assert room.told == [*HELD, *ENDS]


def test_words_at_a_pause_are_enough(room: Room) -> None:
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.tell(at_pause("And what is"))
    assert room.told == [*HELD, *ENDS]


def test_long_speech_that_was_not_understood_ends_it_for_it_is_asked_about(room: Room) -> None:
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.tell(ENDED)
    room.tell(final("", "no-words", 3000))
    assert room.told == [*HELD, *ENDS]


def test_the_transcript_of_speech_before_the_answer_does_not_end_it(room: Room) -> None:
    answer, room.said = room.said, None
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.tell(ENDED)
    room.said = answer
    room.tell(final("And what is four plus four?"))
    room.tell(at_pause("And what is four plus four?"))
    assert room.told == []


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
    room.tell(at_pause("Well, I meant"))
    assert room.told == [*HELD, *ENDS]


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
    assert room.told == HELD


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
    room.tell(words("Well"), turn="t3")
    room.tell(words("Well a moment"), turn="t3")
    assert room.told == ["duck", "restore", *HELD]
    room.tell(at_pause("Well, a moment please."), turn="t3")
    assert room.told == ["duck", "restore", *HELD, *ENDS]


@pytest.mark.parametrize("min_words", [0, 2])
def test_what_was_found_to_be_our_own_is_not_taken_up_again_until_others_speak_in_it(min_words: int) -> None:
    room = Room(min_words=min_words)
    room.tell(STARTED)
    room.tell(words("two plus three is"))
    for _ in range(4):
        room.tell(CONFIRMED)
        room.barge_in.tick()
        room.tell(words("two plus three is five"))
        room.tell(at_pause("two plus three is five"))
        room.barge_in.tick()
    assert room.told == ["duck", "restore"]
    room.tell(words("two plus three is five no wait please stop talking"))
    assert room.told == ["duck", "restore", *HELD]


def test_without_a_loudspeaker_in_the_room_words_of_ours_are_a_users() -> None:
    room = Room(min_words=2, output="none")
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.tell(at_pause("two plus three is five"))
    assert room.told == ["duck", *ENDS[:2]]


def test_speech_of_which_no_words_come_makes_it_quieter_once_and_is_heeded_when_they_come() -> None:
    room = Room(min_words=1)
    room.tell(STARTED)
    room.tell(CONFIRMED)
    for _ in range(40):
        room.clock.advance_s(0.25)
        room.barge_in.tick()
    assert room.told == ["duck", "restore"]
    room.tell(words("Well."))
    assert room.told == ["duck", "restore", *HELD]


def test_speech_without_words_at_its_pause_is_taken_up_again_when_it_lasts(room: Room) -> None:
    room.tell(STARTED)
    room.tell(CONFIRMED)
    room.tell(at_pause("", 300))
    room.barge_in.tick()
    assert room.told == [*HELD, *GOES_ON]
    room.tell(SpeechConfirmed(first_sample=0, speech_ms=1240))
    assert room.told == [*HELD, *GOES_ON, *HELD]
