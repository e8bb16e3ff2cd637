"""Frames to utterances, and how a successor goes on."""

from __future__ import annotations

import array

from hypothesis import given
from hypothesis import strategies as st

from actors.vad.hearing import Hearing, Told, from_note, to_note
from actors.vad.relay import Relay
from actors.vad.segmenter import Checkpoint, Segment, SegmenterConfig
from bus.limits import FRAME_BYTES, FRAME_SAMPLES

CONFIG = SegmenterConfig(
    min_speech_ms=180,
    silence_limit_ms=150,
    pre_roll_ms=120,
    start_ms=60,
    start_window_ms=90,
    tail_ms=60,
    max_utterance_ms=1200,
)
runs = st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=25)
streams = runs.map(lambda pieces: [speech for speech, length in pieces for _ in range(length)])


class Oracle:
    """Says what the script says of a frame; the frame carries its own number, and the oracle nothing from frame to frame."""

    def __init__(self, script: list[bool]) -> None:
        self._script = script

    def is_speech(self, pcm: bytes) -> bool:
        return self._script[number_of(pcm)]

    def reset(self) -> None:
        """Nothing is remembered."""


def frame(number: int) -> bytes:
    return array.array("h", [number] * FRAME_SAMPLES).tobytes()


def number_of(pcm: bytes) -> int:
    return int.from_bytes(pcm[:2], "little")


def hear(hearing: Hearing, numbers: range) -> list[Told]:
    return [told for number in numbers for told in hearing.push(frame(number), captured_ns=1_000 + number)]


def segments(told: list[Told]) -> list[Segment]:
    return [item.event for item in told if isinstance(item.event, Segment)]


def relay(stream: list[bool]) -> Relay:
    return Relay(lambda: Oracle(stream))


@given(stream=streams, data=st.data())
def test_a_successor_hears_the_same_utterances_sample_for_sample(stream: list[bool], data: st.DataObject) -> None:
    """It begins where the oldest utterance begins that was not yet acknowledged, else where segmenting stood."""
    killed_at = data.draw(st.integers(0, len(stream)))
    original = Hearing(CONFIG, relay(stream))
    told = segments(hear(original, range(killed_at)))
    unaccepted = told[data.draw(st.integers(0, len(told))) :]
    checkpoint = Checkpoint(unaccepted[0].start_sample, unaccepted[0].continuing) if unaccepted else original.checkpoint
    begin = data.draw(st.integers(0, checkpoint.sample // FRAME_SAMPLES))  # the source has more than is needed
    successor = Hearing(CONFIG, relay(stream), begin * FRAME_SAMPLES, to_note(checkpoint))
    again = segments(hear(successor, range(begin, len(stream))) + successor.flush())
    rest = segments(hear(original, range(killed_at, len(stream))) + original.flush())
    assert again == unaccepted + rest


def test_a_segment_is_told_with_the_time_of_its_last_speech_frame() -> None:
    hearing = Hearing(CONFIG, relay([False] * 6 + [True] * 8 + [False] * 6))
    told = hear(hearing, range(20))
    assert [item.captured_ns for item in told] == [0, 1_013]


def test_a_segment_that_a_successor_tells_has_its_time_too() -> None:
    stream = [False] * 6 + [True] * 8 + [False] * 6
    (first,) = hear(Hearing(CONFIG, relay(stream)), range(20))[1:]
    assert isinstance(first.event, Segment)
    note = to_note(Checkpoint(first.event.start_sample))
    assert hear(Hearing(CONFIG, relay(stream), 0, note), range(20))[1:] == [first]


def test_what_the_source_no_longer_has_is_not_waited_for() -> None:
    assert from_note(to_note(Checkpoint(12 * FRAME_SAMPLES, True)), 20 * FRAME_SAMPLES) == Checkpoint(20 * FRAME_SAMPLES)


def test_a_note_that_cannot_be_read_is_as_good_as_none() -> None:
    for note in ("", "continuing", "[1", '["x"]', "[480,false,[[1,2]]]", "\ud800"):
        assert from_note(note, 960) == Checkpoint(960)


def test_a_hole_in_front_of_the_bookmark_does_not_move_it() -> None:
    stream = [False] * 20 + [True] * 8 + [False] * 6
    note = to_note(Checkpoint(10 * FRAME_SAMPLES))
    hearing = Hearing(CONFIG, relay(stream), 0, note)
    assert hearing.gap(15 * FRAME_SAMPLES) == []
    (segment,) = segments(hear(hearing, range(15, len(stream))))
    assert segment.start_sample == 16 * FRAME_SAMPLES
    assert segment.pcm[:FRAME_BYTES] == frame(16)
