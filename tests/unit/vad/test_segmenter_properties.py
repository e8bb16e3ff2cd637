"""What holds for every stream and every configuration of the segmenter."""

from __future__ import annotations

import array
import itertools
import re
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from actors.vad.segmenter import (
    LONGEST_SILENCE_MS,
    Checkpoint,
    Event,
    Paused,
    Resumed,
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
    tail_ms = draw(st.integers(0, 6 * ms))
    return SegmenterConfig(
        min_speech_ms=draw(st.integers(0, 8 * ms)),
        silence_limit_ms=silence_limit_ms,
        pre_roll_ms=pre_roll_ms,
        start_ms=start_ms,
        start_window_ms=start_window_ms,
        skip_after_ms=draw(st.just(0) | st.integers(silence_limit_ms, silence_limit_ms + 10 * ms)),
        tail_ms=tail_ms,
        pause_ms=draw(st.just(0) | st.integers(max(1, tail_ms), tail_ms + 6 * ms)),
        short_ms=draw(st.just(0) | st.integers(1, 8 * ms)),
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
    return [event for event in events if isinstance(event, Segment | Skipped)]


Hints = list[tuple[int, int, bool, bool]]
hints = st.lists(st.tuples(st.integers(0, 150), st.integers(0, 40 * FRAME_MS), st.booleans(), st.booleans()), max_size=12)
"""After which frame, how long the silence may be, whether the words count though they are short, and whether the hint is about the pause
that lasts or about another."""


def hear_with_hints(segmenter: Segmenter, stream: list[bool], given: Hints, first: int = 0) -> list[Event]:
    events: list[Event] = []
    revision = 0
    for number, is_speech in enumerate(stream, first):
        events += segmenter.push(segmenter.next_sample, frame(segmenter.next_sample), is_speech)
        revision = next((event.segment.revision for event in reversed(events) if isinstance(event, Paused)), revision)
        for after, limit_ms, counts, is_meant in given:
            if after == number:
                events += segmenter.limit_silence(revision if is_meant else revision + 1, limit_ms, counts=counts)
    return events


def assert_in_order(told: list[Utterance], start: int, end: int) -> None:
    edge = start
    for utterance in told:
        assert edge <= utterance.start_sample <= utterance.speech_start_sample < utterance.speech_end_sample <= utterance.end_sample
        edge = utterance.end_sample
    assert edge <= end


def assert_only_silence_between(told: list[Utterance], stream: list[bool], config: SegmenterConfig) -> None:
    edges = [0, *(edge // FRAME_SAMPLES for event in told for edge in (event.start_sample, event.end_sample)), len(stream)]
    window, need = frames_of(config.start_window_ms), frames_of(config.start_ms)
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        for index in range(begin, end):
            assert sum(stream[index : min(index + window, end)]) < need


def assert_whole(segment: Segment) -> None:
    assert segment.pcm == b"".join(map(frame, range(segment.start_sample, segment.end_sample, FRAME_SAMPLES)))
    assert segment.revision == (segment.end_sample - segment.start_sample) // FRAME_SAMPLES


@given(config=configs(), stream=streams, start=starts)
def test_utterances_lie_in_order_within_the_stream_and_never_overlap(config: SegmenterConfig, stream: list[bool], start: int) -> None:
    segmenter = Segmenter(config, Checkpoint(start))
    told = utterances(hear(segmenter, stream) + segmenter.flush())
    assert_in_order(told, start, start + len(stream) * FRAME_SAMPLES)


@given(config=configs(), stream=streams, start=starts)
def test_a_segment_is_exactly_the_samples_it_names_and_never_too_long(config: SegmenterConfig, stream: list[bool], start: int) -> None:
    segmenter = Segmenter(config, Checkpoint(start))
    for told in hear(segmenter, stream) + segmenter.flush():
        if isinstance(told, Segment):
            assert_whole(told)
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
@example(
    config=SegmenterConfig(
        min_speech_ms=31, silence_limit_ms=1, skip_after_ms=31, pre_roll_ms=0, start_ms=1, start_window_ms=1, tail_ms=0, max_utterance_ms=93
    ),
    stream=[True, False, True],
)
def test_no_pause_within_an_utterance_reaches_the_silence_limit(config: SegmenterConfig, stream: list[bool]) -> None:
    segmenter = Segmenter(config)
    for told in utterances(hear(segmenter, stream) + segmenter.flush()):
        inside = stream[told.speech_start_sample // FRAME_SAMPLES : told.speech_end_sample // FRAME_SAMPLES]
        text = "".join("#" if speech else "." for speech in inside)
        assert "." * frames_of(max(config.silence_limit_ms, config.skip_after_ms)) not in text
        for pause in re.finditer(r"\.+", text):  # what is shorter than the minimum may be skipped, and has more time
            is_short = pause.start() * FRAME_MS < config.min_speech_ms
            assert is_short or len(pause[0]) < frames_of(config.silence_limit_ms)


@given(config=configs(), stream=streams)
def test_between_utterances_there_is_never_enough_speech_to_open_one(config: SegmenterConfig, stream: list[bool]) -> None:
    segmenter = Segmenter(config)
    assert_only_silence_between(utterances(hear(segmenter, stream) + segmenter.flush()), stream, config)


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


@given(config=configs(), stream=streams, start=starts)
def test_telling_of_pauses_changes_nothing_else(config: SegmenterConfig, stream: list[bool], start: int) -> None:
    telling, silent = Segmenter(config, Checkpoint(start)), Segmenter(replace(config, pause_ms=0), Checkpoint(start))
    told = hear(telling, stream) + telling.flush()
    assert [event for event in told if not isinstance(event, Paused | Resumed)] == hear(silent, stream) + silent.flush()


def course(events: list[Event], start_sample: int) -> list[Event]:
    """What was told of one utterance, in order."""
    return [event for event in events if event.start_sample == start_sample]


@given(config=configs(), stream=streams)
def test_a_segment_that_ends_in_a_pause_is_byte_for_byte_what_was_told_of_it(config: SegmenterConfig, stream: list[bool]) -> None:
    segmenter = Segmenter(config)
    events = hear(segmenter, stream) + segmenter.flush()
    for told in events:
        if isinstance(told, Segment) and not told.continues:
            before = course(events, told.start_sample)[-2]
            assert not isinstance(before, Paused) or before.segment == told


@given(config=configs(), stream=streams)
def test_no_segment_ends_at_the_silence_limit_without_a_pause_that_was_told(config: SegmenterConfig, stream: list[bool]) -> None:
    segmenter = Segmenter(config)
    events = hear(segmenter, stream)
    for told in utterances(events):
        if isinstance(told, Segment) and not told.continues and 0 < frames_of(config.pause_ms) < frames_of(config.silence_limit_ms):
            assert isinstance(course(events, told.start_sample)[-2], Paused)


@given(config=configs(), stream=streams)
def test_pauses_and_resumptions_take_turns_and_each_pause_has_a_higher_revision(config: SegmenterConfig, stream: list[bool]) -> None:
    segmenter = Segmenter(config)
    events = hear(segmenter, stream) + segmenter.flush()
    for start in {event.start_sample for event in events}:
        rests = [event for event in course(events, start) if isinstance(event, Paused | Resumed)]
        assert [type(event) for event in rests] == [Paused, Resumed] * (len(rests) // 2) + [Paused] * (len(rests) % 2)
        revisions = [event.segment.revision for event in rests if isinstance(event, Paused)]
        assert revisions == sorted(set(revisions))
        for event in rests:
            if isinstance(event, Paused):
                assert_whole(event.segment)
                minimum_ms = config.start_ms if event.segment.continuing else config.min_speech_ms
                assert event.is_short == (event.segment.speech_ms < minimum_ms)
                assert not event.is_short or 0 < config.short_ms <= event.segment.voiced_ms


@given(config=configs(), stream=streams, given=hints)
def test_whatever_the_hints_every_sample_is_in_one_utterance_or_in_silence(
    config: SegmenterConfig, stream: list[bool], given: Hints
) -> None:
    segmenter = Segmenter(config)
    told = utterances(hear_with_hints(segmenter, stream, given) + segmenter.flush())
    assert_in_order(told, 0, len(stream) * FRAME_SAMPLES)
    assert_only_silence_between(told, stream, config)
    for utterance in told:
        if isinstance(utterance, Segment):
            assert_whole(utterance)
            assert len(utterance.pcm) <= config.max_utterance_ms // FRAME_MS * FRAME_BYTES


@given(config=configs(), stream=streams, given=hints)
def test_what_is_too_short_is_an_utterance_only_where_a_hint_had_it_count(
    config: SegmenterConfig, stream: list[bool], given: Hints
) -> None:
    segmenter = Segmenter(config)
    told = utterances(hear_with_hints(segmenter, stream, [(*hint[:2], False, hint[3]) for hint in given]) + segmenter.flush())
    for utterance in told:
        if isinstance(utterance, Segment) and not (utterance.continuing or utterance.continues):
            assert utterance.speech_ms >= config.min_speech_ms


@given(config=configs(), stream=streams, given=hints)
def test_a_hint_about_another_pause_changes_nothing(config: SegmenterConfig, stream: list[bool], given: Hints) -> None:
    hinted, plain = Segmenter(config), Segmenter(config)
    stale = [(after, limit_ms, counts, False) for after, limit_ms, counts, _ in given]
    assert hear_with_hints(hinted, stream, stale) == hear(plain, stream)
    assert hinted.flush() == plain.flush()


@given(config=configs(), stream=streams, given=hints, data=st.data())
def test_the_same_frames_and_hints_give_the_same_utterances_also_from_a_checkpoint_on(
    config: SegmenterConfig, stream: list[bool], given: Hints, data: st.DataObject
) -> None:
    killed_at = data.draw(st.integers(0, len(stream)))
    original = Segmenter(config)
    hear_with_hints(original, stream[:killed_at], given)
    checkpoint = original.checkpoint
    successor = Segmenter(config, checkpoint)
    first = checkpoint.sample // FRAME_SAMPLES
    again = hear_with_hints(successor, stream[first:killed_at], given, first)
    assert not utterances(again)
    rest = [hint for hint in given if hint[0] >= killed_at]
    expected = utterances(hear_with_hints(original, stream[killed_at:], rest, killed_at) + original.flush())
    assert utterances(hear_with_hints(successor, stream[killed_at:], rest, killed_at) + successor.flush()) == expected


@given(config=configs(), runs_before=st.integers(10, 30), limit_ms=st.integers(-100, 10**6))
def test_a_hint_moves_the_end_of_this_pause_alone_within_its_bounds(config: SegmenterConfig, runs_before: int, limit_ms: int) -> None:
    config = replace(
        config, min_speech_ms=0, silence_limit_ms=max(config.silence_limit_ms, config.pause_ms + FRAME_MS), max_utterance_ms=10**6
    )
    pause = frames_of(config.pause_ms)
    if not pause:
        return
    segmenter = Segmenter(config)
    (paused,) = [event for event in hear(segmenter, [True] * runs_before + [False] * pause) if isinstance(event, Paused)]
    expected = min(max(frames_of(limit_ms), pause), max(frames_of(config.silence_limit_ms), LONGEST_SILENCE_MS // FRAME_MS))
    events = segmenter.limit_silence(paused.segment.revision, limit_ms)
    silent = pause
    while not events:
        events = hear(segmenter, [False])
        silent += 1
    assert silent == expected
    assert events == [paused.segment]
    after = utterances(hear(segmenter, [True] * runs_before + [False] * (frames_of(config.silence_limit_ms) - 1)))
    assert not after
    assert len(utterances(hear(segmenter, [False]))) == 1


@given(config=configs(), stream=streams)
def test_nothing_is_told_before_the_frame_that_was_said_to_be_the_earliest(config: SegmenterConfig, stream: list[bool]) -> None:
    segmenter = Segmenter(config)
    earliest = 0
    for number, is_speech in enumerate(stream, 1):
        earliest = max(earliest, number - 1 + segmenter.frames_to_event)
        events = hear(segmenter, [is_speech])
        assert not events or number >= earliest
