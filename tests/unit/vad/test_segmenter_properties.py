"""What holds for every stream and every configuration of the segmenter."""

from __future__ import annotations

import array
import itertools

from hypothesis import given
from hypothesis import strategies as st

from actors.vad.segmenter import (
    Checkpoint,
    Event,
    Segment,
    Segmenter,
    SegmenterConfig,
    Skipped,
    SpeechStarted,
    frames_of,
)
from bus.limits import FRAME_BYTES, FRAME_MS, FRAME_SAMPLES

Utterance = Segment | Skipped


@st.composite
def configs(draw: st.DrawFn) -> SegmenterConfig:
    """Small lengths, so that short streams reach every rule; not all of them whole frames."""
    ms = FRAME_MS
    start_ms = draw(st.integers(1, 4 * ms))
    start_window_ms = draw(st.integers(start_ms, 6 * ms))
    pre_roll_ms = draw(st.integers(0, 6 * ms))
    silence_limit_ms = draw(st.integers(start_window_ms, 30 * ms))
    shortest_ms = 3 * (pre_roll_ms + start_window_ms) + 3 * ms
    return SegmenterConfig(
        min_speech_ms=draw(st.integers(0, 8 * ms)),
        silence_limit_ms=silence_limit_ms,
        pre_roll_ms=pre_roll_ms,
        start_ms=start_ms,
        start_window_ms=start_window_ms,
        tail_ms=draw(st.integers(0, 6 * ms)),
        max_utterance_ms=draw(st.integers(shortest_ms, shortest_ms + 40 * ms)),
    )


runs = st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=25)
streams = runs.map(lambda pieces: [speech for speech, length in pieces for _ in range(length)])
starts = st.integers(0, 5).map(lambda index: index * 1_000 * FRAME_SAMPLES)


def frame(sample: int) -> bytes:
    """A frame that can be told from the others of its stream."""
    return array.array("h", [sample // FRAME_SAMPLES % 30_000 + 1] * FRAME_SAMPLES).tobytes()


def hear(segmenter: Segmenter, stream: list[bool]) -> list[Event]:
    events: list[Event] = []
    for is_speech in stream:
        events += segmenter.push(segmenter.next_sample, frame(segmenter.next_sample), is_speech)
    return events


def utterances(events: list[Event]) -> list[Utterance]:
    return [event for event in events if not isinstance(event, SpeechStarted)]


@given(config=configs(), stream=streams, start=starts)
def test_utterances_lie_in_order_within_the_stream_and_never_overlap(config: SegmenterConfig, stream: list[bool], start: int) -> None:
    segmenter = Segmenter(config, Checkpoint(start))
    edge = start
    for told in utterances(hear(segmenter, stream) + segmenter.flush()):
        assert edge <= told.start_sample <= told.speech_start_sample < told.speech_end_sample <= told.end_sample
        edge = told.end_sample
    assert edge <= start + len(stream) * FRAME_SAMPLES


@given(config=configs(), stream=streams, start=starts)
def test_a_segment_is_exactly_the_samples_it_names_and_never_too_long(config: SegmenterConfig, stream: list[bool], start: int) -> None:
    segmenter = Segmenter(config, Checkpoint(start))
    for told in hear(segmenter, stream) + segmenter.flush():
        if isinstance(told, Segment):
            assert told.pcm == b"".join(map(frame, range(told.start_sample, told.end_sample, FRAME_SAMPLES)))
            assert len(told.pcm) <= config.max_utterance_ms // FRAME_MS * FRAME_BYTES


@given(config=configs(), stream=streams)
def test_an_utterance_begins_and_ends_with_speech_around_its_margins(config: SegmenterConfig, stream: list[bool]) -> None:
    segmenter = Segmenter(config)
    for told in utterances(hear(segmenter, stream) + segmenter.flush()):
        first, last = told.speech_start_sample // FRAME_SAMPLES, told.speech_end_sample // FRAME_SAMPLES - 1
        assert stream[first]
        assert stream[last]
        assert not any(stream[last + 1 : told.end_sample // FRAME_SAMPLES])
        if isinstance(told, Segment):
            assert told.voiced_ms == sum(stream[first : last + 1]) * FRAME_MS


@given(config=configs(), stream=streams)
def test_no_pause_within_an_utterance_reaches_the_silence_limit(config: SegmenterConfig, stream: list[bool]) -> None:
    segmenter = Segmenter(config)
    for told in utterances(hear(segmenter, stream) + segmenter.flush()):
        inside = stream[told.speech_start_sample // FRAME_SAMPLES : told.speech_end_sample // FRAME_SAMPLES]
        text = "".join("#" if speech else "." for speech in inside)
        assert "." * frames_of(config.silence_limit_ms) not in text


@given(config=configs(), stream=streams)
def test_between_utterances_there_is_never_enough_speech_to_open_one(config: SegmenterConfig, stream: list[bool]) -> None:
    segmenter = Segmenter(config)
    told = utterances(hear(segmenter, stream) + segmenter.flush())
    edges = [
        0,
        *(edge // FRAME_SAMPLES for event in told for edge in (event.start_sample, event.end_sample)),
        len(stream),
    ]
    window, need = frames_of(config.start_window_ms), frames_of(config.start_ms)
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        for index in range(begin, end):
            assert sum(stream[index : min(index + window, end)]) < need


@given(config=configs(), stream=streams)
def test_only_utterances_that_are_too_short_and_whole_are_skipped(config: SegmenterConfig, stream: list[bool]) -> None:
    segmenter = Segmenter(config)
    for told in utterances(hear(segmenter, stream) + segmenter.flush()):
        if isinstance(told, Skipped):
            assert told.speech_ms < told.minimum_ms
        elif not told.continues:
            assert told.speech_ms >= (config.start_ms if told.continuing else config.min_speech_ms)


@given(config=configs(), stream=streams)
def test_every_start_is_followed_by_its_one_end(config: SegmenterConfig, stream: list[bool]) -> None:
    segmenter = Segmenter(config)
    events = hear(segmenter, stream) + segmenter.flush()
    begun = [event.start_sample for event in events if isinstance(event, SpeechStarted)]
    assert begun == [event.start_sample for event in utterances(events)]
    assert not segmenter.is_open


@given(config=configs(), stream=streams)
def test_what_goes_on_after_a_cut_begins_at_the_cut(config: SegmenterConfig, stream: list[bool]) -> None:
    segmenter = Segmenter(config)
    told = utterances(hear(segmenter, stream) + segmenter.flush())
    for before, after in itertools.pairwise(told):
        if isinstance(after, Segment) and after.continuing:
            assert isinstance(before, Segment)
            assert before.continues
            assert after.start_sample == before.end_sample


@given(config=configs(), stream=streams, start=starts, data=st.data())
def test_a_successor_at_the_checkpoint_tells_of_the_same_utterances(
    config: SegmenterConfig, stream: list[bool], start: int, data: st.DataObject
) -> None:
    killed_at = data.draw(st.integers(0, len(stream)))
    original = Segmenter(config, Checkpoint(start))
    hear(original, stream[:killed_at])
    checkpoint = original.checkpoint
    successor = Segmenter(config, checkpoint)
    again = stream[(checkpoint.sample - start) // FRAME_SAMPLES :]
    expected = utterances(hear(original, stream[killed_at:]) + original.flush())
    assert utterances(hear(successor, again) + successor.flush()) == expected
    assert successor.checkpoint == original.checkpoint


@given(config=configs(), stream=streams)
def test_the_checkpoint_only_moves_forward_and_never_past_what_is_told_later(config: SegmenterConfig, stream: list[bool]) -> None:
    segmenter = Segmenter(config)
    committed = 0
    for is_speech in stream:
        for told in utterances(segmenter.push(segmenter.next_sample, frame(segmenter.next_sample), is_speech)):
            assert told.start_sample >= committed
        assert committed <= segmenter.checkpoint.sample <= segmenter.next_sample
        committed = segmenter.checkpoint.sample


@given(config=configs(), before=streams, hole=st.integers(0, 60), after=streams)
def test_a_hole_is_the_same_as_that_much_silence(config: SegmenterConfig, before: list[bool], hole: int, after: list[bool]) -> None:
    with_hole, with_silence = Segmenter(config), Segmenter(config)
    events, expected = hear(with_hole, before), hear(with_silence, before)
    events += with_hole.gap(with_hole.next_sample, hole * FRAME_SAMPLES)
    for _ in range(hole):
        expected += with_silence.push(with_silence.next_sample, bytes(FRAME_BYTES), False)
    assert with_hole.checkpoint == with_silence.checkpoint
    assert events + hear(with_hole, after) == expected + hear(with_silence, after)
    assert with_hole.flush() == with_silence.flush()
