"""Speech into an answer: which of it interrupts which answer, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sized
from functools import partial
from pathlib import Path

import pytest

from bench.barge_in import Interruption, growth, interruptions, results
from bench.listener import Hearing
from bench.spoken import Sentence
from bus.codec import Stamp, decode
from bus.messages.base import Body, Message
from bus.messages.speech import SpeechConfirmed
from bus.messages.voice import StopCause, VoiceCut, VoiceFinished, VoiceStarted
from tests.waiting import wait_until

MS = 1_000_000
SENTENCES = (Sentence("tell me a joke", begin=16_000, end=32_000), Sentence("what time is it", begin=64_000, end=80_000))
ASKED, ANOTHER = "bench-1-14400", "bench-1-62400"


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns


Tell = Callable[[float, Body, str], Message]


@pytest.fixture
def tell() -> Tell:
    """A message of a turn that is sent so many ms after the file began."""
    clock = Clock()
    stamp = Stamp("test", "1", clock)

    def told(at_ms: float, body: Body, turn: str) -> Message:
        clock.now_ns = round(at_ms * MS)
        return decode(stamp.pack(body, turn=turn))

    return told


def started(at_ms: float) -> VoiceStarted:
    return VoiceStarted(attempt=1, at_ns=round(at_ms * MS))


def cut(at_ms: float, cause: StopCause = "user") -> VoiceCut:
    return VoiceCut(attempt=1, cause=cause, at_ns=round(at_ms * MS))


def finished(at_ms: float) -> VoiceFinished:
    return VoiceFinished(attempt=1, at_ns=round(at_ms * MS))


def confirmed(first_sample: int = 62_400) -> SpeechConfirmed:
    return SpeechConfirmed(first_sample=first_sample, speech_ms=240)


def heard(*messages: Message) -> Hearing:
    return Hearing(zero_ns=0, messages=list(messages))


def test_who_speaks_into_an_answer_is_known_by_his_first_sample_and_the_answer_by_its_last(tell: Tell) -> None:
    (found,) = interruptions(
        heard(
            tell(1_400, confirmed(14_400), ASKED),
            tell(2_600, started(2_590), ASKED),
            tell(4_350, confirmed(), ANOTHER),
            tell(4_360, cut(4_370), ASKED),
            tell(5_700, started(5_690), ANOTHER),
        ),
        SENTENCES,
        [3_000 * MS, 4_380 * MS, 5_710 * MS],
    )
    assert found == Interruption(begun_ns=4_000 * MS, confirmed_ns=4_350 * MS, silent_ns=4_370 * MS, written_ns=4_380 * MS)


@pytest.mark.parametrize(("end", "counts"), [(finished(4_450), False), (finished(4_900), True), (cut(4_450, "newer"), True)])
def test_an_answer_that_was_over_by_itself_in_time_is_none_and_one_that_went_on_is_talked_over(
    tell: Tell, end: VoiceFinished | VoiceCut, counts: bool
) -> None:
    messages = tell(2_600, started(2_590), ASKED), tell(4_350, confirmed(), ANOTHER), tell(4_900, end, ASKED)
    found = interruptions(heard(*messages), SENTENCES, [4_440 * MS])
    assert [one.silent_ns for one in found] == [None] * counts


def test_a_sentence_in_two_pieces_interrupts_once(tell: Tell) -> None:
    found = interruptions(
        heard(
            tell(2_600, started(2_590), ASKED),
            tell(4_350, confirmed(), ANOTHER),
            tell(4_360, cut(4_370), ASKED),
            tell(4_700, started(4_690), ANOTHER),
            tell(4_900, confirmed(72_000), "bench-1-72000"),
            tell(4_910, cut(4_920), ANOTHER),
        ),
        SENTENCES,
        [4_380 * MS, 4_930 * MS],
    )
    assert [one.confirmed_ns for one in found] == [4_350 * MS]


def test_silence_before_the_speech_was_confirmed_takes_no_time_and_what_went_on_has_none() -> None:
    cut_at = [Interruption(0, 300 * MS, at_ms * MS, (at_ms + 10) * MS) for at_ms in (290, 320, 460)]
    figures = {figure.name: figure for figure in results([*cut_at, Interruption(0, 300 * MS, None, 900 * MS)], [10.0, 12.0])}
    assert {name: (figure.value, figure.ok) for name, figure in figures.items()} == {
        "silence p50": (20, True),
        "silence p99": (160, False),
        "silence, written p50": (30, True),
        "silence, written p99": (170, False),
        "silence, felt p50": (320, None),
        "silence, felt p99": (460, None),
        "talked over": (1, False),
    }
    assert (figures["silence p50"].baseline, figures["silence p50"].ratio) == (10.0, 2.0)


def has_length(values: Sized, length: int) -> bool:
    return len(values) == length


def test_each_time_that_the_file_grows_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "said.wav"
    with growth(file) as times_ns:
        begin_ns = time.monotonic_ns()
        for number in range(1, 4):
            with file.open("ab") as output:
                output.write(bytes(100))
            wait_until(partial(has_length, times_ns, number))
    assert begin_ns < times_ns[0] < times_ns[1] < times_ns[2] < time.monotonic_ns()
