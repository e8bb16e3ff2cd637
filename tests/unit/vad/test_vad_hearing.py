"""How a successor goes on, with engines that remember and engines that do not."""

from __future__ import annotations

import array

from hypothesis import given
from hypothesis import strategies as st

from actors.vad.hearing import Bookmark, Hearing, Span, Told
from actors.vad.segmenter import Segment, SegmenterConfig
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


class Forgetful(Oracle):
    """Believes nothing in its first frames after a reset, as a blank engine does, so that edges move."""

    def is_speech(self, pcm: bytes) -> bool:
        self._heard += 1
        return self._heard > 3 and super().is_speech(pcm)

    def reset(self) -> None:
        self._heard = 0


def frame(number: int) -> bytes:
    return array.array("h", [number] * FRAME_SAMPLES).tobytes()


def number_of(pcm: bytes) -> int:
    return int.from_bytes(pcm[:2], "little")


def hear(hearing: Hearing, numbers: range) -> list[Told]:
    return [told for number in numbers for told in hearing.push(frame(number), captured_ns=1_000 + number)]


def segments(told: list[Told]) -> list[Segment]:
    return [item.event for item in told if isinstance(item.event, Segment)]


@given(stream=streams, data=st.data())
def test_a_successor_tells_again_what_was_decided_and_goes_on_from_there(stream: list[bool], data: st.DataObject) -> None:
    killed_at = data.draw(st.integers(0, len(stream)))
    original = Hearing(CONFIG, Oracle(stream))
    told = segments(hear(original, range(killed_at)))
    unaccepted = told[data.draw(st.integers(0, len(told))) :]
    bookmark = Bookmark(original.bookmark.sample, original.bookmark.continuing, tuple(map(Span.of, unaccepted)))
    begin = data.draw(st.integers(0, bookmark.oldest_needed // FRAME_SAMPLES))  # the source may have more than is needed
    successor = Hearing(CONFIG, Oracle(stream), begin * FRAME_SAMPLES, bookmark.to_note())
    again = segments(hear(successor, range(begin, len(stream))) + successor.flush())
    rest = segments(hear(original, range(killed_at, len(stream))) + original.flush())
    assert again == unaccepted + rest


@given(stream=streams)
def test_a_successor_cuts_out_what_was_decided_even_where_its_engine_disagrees(stream: list[bool]) -> None:
    original = Hearing(CONFIG, Forgetful(stream))
    told = segments(hear(original, range(len(stream))))
    bookmark = Bookmark(original.bookmark.sample, original.bookmark.continuing, tuple(map(Span.of, told)))
    begin = bookmark.oldest_needed // FRAME_SAMPLES
    successor = Hearing(CONFIG, Forgetful(stream), bookmark.oldest_needed, bookmark.to_note())
    assert segments(hear(successor, range(begin, len(stream))))[: len(told)] == told


@given(stream=streams, data=st.data())
def test_a_successor_that_is_killed_too_leaves_the_same_to_the_next(stream: list[bool], data: st.DataObject) -> None:
    original = Hearing(CONFIG, Oracle(stream))
    told = segments(hear(original, range(len(stream))))
    bookmark = Bookmark(original.bookmark.sample, original.bookmark.continuing, tuple(map(Span.of, told)))
    begin = bookmark.oldest_needed // FRAME_SAMPLES
    second = Hearing(CONFIG, Oracle(stream), bookmark.oldest_needed, bookmark.to_note())
    killed_at = data.draw(st.integers(begin, len(stream)))
    done = segments(hear(second, range(begin, killed_at)))
    left = second.bookmark
    assert done + [span for span in told if Span.of(span) in left.decided] == told
    third = Hearing(CONFIG, Oracle(stream), left.oldest_needed, left.to_note())
    assert segments(hear(third, range(left.oldest_needed // FRAME_SAMPLES, len(stream)))) == told[len(done) :]


def test_a_segment_is_told_with_the_time_of_its_last_speech_frame() -> None:
    hearing = Hearing(CONFIG, Oracle([False] * 6 + [True] * 8 + [False] * 6))
    told = hear(hearing, range(20))
    assert [item.captured_ns for item in told] == [0, 1_013]


def test_a_recalled_segment_has_its_time_too() -> None:
    stream = [False] * 6 + [True] * 8 + [False] * 6
    (segment,) = segments(hear(Hearing(CONFIG, Oracle(stream)), range(20)))
    note = Bookmark(segment.end_sample, decided=(Span.of(segment),)).to_note()
    told = hear(Hearing(CONFIG, Oracle(stream), 0, note), range(20))
    assert [(item.event, item.captured_ns) for item in told] == [(segment, 1_013)]


def test_the_end_of_the_stream_gives_what_there_is_of_a_decided_segment() -> None:
    span = Span(0, 10 * FRAME_SAMPLES, 0, 8 * FRAME_SAMPLES, 240, False, False)
    hearing = Hearing(CONFIG, Oracle([False] * 10), 0, Bookmark(span.end_sample, decided=(span,)).to_note())
    hear(hearing, range(6))
    (segment,) = segments(hearing.flush())
    assert segment.pcm == b"".join(map(frame, range(6)))


def test_what_the_source_no_longer_has_is_not_waited_for() -> None:
    gone = Span(0, 10 * FRAME_SAMPLES, 0, 8 * FRAME_SAMPLES, 240, False, False)
    note = Bookmark(12 * FRAME_SAMPLES, True, (gone,)).to_note()
    assert Bookmark.from_note(note, 20 * FRAME_SAMPLES) == Bookmark(20 * FRAME_SAMPLES)


def test_a_note_that_cannot_be_read_is_as_good_as_none() -> None:
    for note in ("", "continuing", "[1", '["x"]', "[480,false,[[1,2]]]", "\ud800"):
        assert Bookmark.from_note(note, 960) == Bookmark(960)


def test_a_hole_in_front_of_the_bookmark_does_not_move_it() -> None:
    stream = [False] * 20 + [True] * 8 + [False] * 6
    note = Bookmark(10 * FRAME_SAMPLES).to_note()
    hearing = Hearing(CONFIG, Oracle(stream), 0, note)
    assert hearing.gap(15 * FRAME_SAMPLES) == []
    (segment,) = segments(hear(hearing, range(15, len(stream))))
    assert segment.start_sample == 16 * FRAME_SAMPLES
    assert segment.pcm[:FRAME_BYTES] == frame(16)
