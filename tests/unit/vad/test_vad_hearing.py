"""Frames to utterances, and how a successor goes on."""

from __future__ import annotations

import array
from collections import deque
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from actors.vad.hearing import Hearing, Told, from_note, to_note
from actors.vad.relay import Relay
from actors.vad.segmenter import Checkpoint, Paused, Segment, SegmenterConfig
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


class Ear:
    """An ear without its sockets: a hearing, and utterances of which one after the other is submitted."""

    def __init__(self, config: SegmenterConfig, stream: list[bool], checkpoint: Checkpoint) -> None:
        self._stream = stream
        self.hearing = Hearing(config, relay(stream), 0, to_note(checkpoint))
        self._unaccepted: deque[Segment] = deque()
        self._revision = 0

    def hear(self, numbers: range, hints: list[int | None], spool: dict[int, int]) -> list[Checkpoint]:
        """Hear these frames, and after some a hint about the last pause; return where successors might begin after each utterance."""
        places = []
        for number in numbers:
            self._tell(self.hearing.push(frame(number), 1_000 + number))
            hint = hints[number % len(hints)]
            if hint is not None:
                self._tell(self.hearing.limit_silence(self._revision, hint))
            places += self._submit(spool)
        return places

    def end(self, spool: dict[int, int]) -> None:
        self._tell(self.hearing.flush())
        while self._unaccepted:
            self._submit(spool)
            self._tell(self.hearing.flush())

    def _tell(self, told: list[Told]) -> None:
        for item in told:
            if isinstance(item.event, Paused):
                self._revision = item.event.segment.revision
            elif isinstance(item.event, Segment):
                self._unaccepted.append(item.event)

    def _submit(self, spool: dict[int, int]) -> list[Checkpoint]:
        """The spool keeps the first revision of a turn that it gets."""
        places = []
        while self._unaccepted:
            segment = self._unaccepted.popleft()
            revision = spool.setdefault(segment.start_sample, segment.revision)
            end = segment.start_sample + revision * FRAME_SAMPLES
            if revision != segment.revision:
                self._unaccepted.clear()
                self._tell(self.hearing.again(Checkpoint(end)))
            places.append(Checkpoint(end))
        return places


hints = st.lists(st.none() | st.integers(0, 150) | st.integers(0, 400), min_size=1, max_size=7)
talk = st.lists(st.tuples(st.integers(1, 10), st.integers(1, 8)), min_size=3, max_size=12).map(
    lambda pairs: [is_speech for spoken, silent in pairs for is_speech in [True] * spoken + [False] * silent]
)


@given(stream=talk, given_hints=st.lists(hints, min_size=3, max_size=3), data=st.data())
def test_whatever_hints_a_predecessor_had_and_whatever_it_committed_nothing_is_handed_on_twice_or_lost(
    stream: list[bool], given_hints: list[list[int | None]], data: st.DataObject
) -> None:
    """Three ears, each killed but the last; each begins where some commit of those before it says, which need not be the newest."""
    config = replace(CONFIG, min_speech_ms=0, pause_ms=60, max_utterance_ms=100_000)
    spool: dict[int, int] = {}
    places = [Checkpoint()]
    for number, its_hints in enumerate(given_hints):
        ear = Ear(config, stream, data.draw(st.sampled_from(places)))
        is_last = number == len(given_hints) - 1
        end = len(stream) if is_last else data.draw(st.integers(len(stream) // 3, len(stream)))
        places += ear.hear(range(end), its_hints, spool)
        if is_last:
            ear.end(spool)
    edges = [0]
    for start, revision in sorted(spool.items()):
        assert edges[-1] <= start
        edges += [start, start + revision * FRAME_SAMPLES]
    edges.append(len(stream) * FRAME_SAMPLES)
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        silence = stream[begin // FRAME_SAMPLES : end // FRAME_SAMPLES]
        assert all(sum(silence[at : at + 3]) < 2 for at in range(len(silence)))  # too little for an utterance to open


def test_what_was_heard_is_segmented_again_from_where_another_had_ended_it() -> None:
    stream = [False] * 6 + [True] * 8 + [False] * 3 + [True] * 7 + [False] * 6
    config = replace(CONFIG, min_speech_ms=0)
    hearing = Hearing(config, relay(stream), epoch="e")
    (whole,) = segments(hear(hearing, range(len(stream))))
    assert (whole.start_sample, whole.revision) == (2 * FRAME_SAMPLES, 24)
    (told, *rest) = [item for item in hearing.again(Checkpoint(16 * FRAME_SAMPLES)) if isinstance(item.event, Segment)]
    assert rest == []
    assert isinstance(told.event, Segment)
    assert told.event.start_sample == 16 * FRAME_SAMPLES
    assert told.event.pcm == b"".join(frame(number) for number in range(16, 26))
    assert told.captured_ns == 1_023


def test_what_is_released_is_not_segmented_again() -> None:
    stream = [False] * 6 + [True] * 8 + [False] * 6
    hearing = Hearing(CONFIG, relay(stream))
    hear(hearing, range(len(stream)))
    hearing.release(16 * FRAME_SAMPLES)
    assert len(hearing._frames) == 4
