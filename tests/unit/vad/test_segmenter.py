"""The segmenter by example. Each test writes a stream as text: `#` is a speech frame of 30 ms, `.` is one without."""

from __future__ import annotations

import array
from dataclasses import replace

import pytest

from actors.vad.segmenter import Checkpoint, Event, Paused, Resumed, Segment, Segmenter, SegmenterConfig, Skipped, SpeechStarted
from bus.limits import FRAME_SAMPLES

# In frames: pre-roll 4, opens on 2 of 3, closes after 5 without speech, keeps 2 of them, at least 6 of speech, at most 40.
CONFIG = SegmenterConfig(
    min_speech_ms=180,
    silence_limit_ms=150,
    pre_roll_ms=120,
    start_ms=60,
    start_window_ms=90,
    tail_ms=60,
    max_utterance_ms=1200,
)

TELLING = replace(CONFIG, pause_ms=60)


def frame(index: int) -> bytes:
    return array.array("h", [index % 30_000 + 1] * FRAME_SAMPLES).tobytes()


def hear(stream: str, segmenter: Segmenter, flush: bool = True) -> list[Event]:
    events: list[Event] = []
    for is_speech in stream:
        sample = segmenter.next_sample
        events += segmenter.push(sample, frame(sample // FRAME_SAMPLES), is_speech == "#")
    return events + (segmenter.flush() if flush else [])


def in_frames(event: Event) -> tuple[int, int]:
    """The piece that an utterance covers, as frame numbers."""
    assert isinstance(event, Segment | Skipped)
    return event.start_sample // FRAME_SAMPLES, event.end_sample // FRAME_SAMPLES


def segments(stream: str, config: SegmenterConfig = CONFIG) -> list[Segment]:
    return [event for event in hear(stream, Segmenter(config)) if isinstance(event, Segment)]


def test_speech_between_silences_is_one_segment_with_pre_roll_and_tail() -> None:
    (segment,) = segments("......########......")
    assert in_frames(segment) == (2, 16)
    assert segment.speech_start_sample == 6 * FRAME_SAMPLES
    assert segment.speech_end_sample == 14 * FRAME_SAMPLES
    assert segment.speech_ms == segment.voiced_ms == 240
    assert not segment.continuing
    assert not segment.continues
    assert segment.pcm == b"".join(frame(index) for index in range(2, 16))


def test_the_start_is_told_as_soon_as_enough_frames_are_speech() -> None:
    segmenter = Segmenter(CONFIG)
    assert hear("......#", segmenter, flush=False) == []
    assert not segmenter.is_open
    assert hear("#", segmenter, flush=False) == [SpeechStarted(2 * FRAME_SAMPLES, 6 * FRAME_SAMPLES)]
    assert segmenter.is_open


def test_the_segment_is_handed_over_with_the_frame_that_reaches_the_silence_limit() -> None:
    segmenter = Segmenter(CONFIG)
    assert len(hear("########....", segmenter, flush=False)) == 1
    (segment,) = hear(".", segmenter, flush=False)
    assert isinstance(segment, Segment)


def test_a_click_opens_nothing() -> None:
    assert hear("......#......#......", Segmenter(CONFIG)) == []


def test_speech_at_the_very_start_has_no_pre_roll() -> None:
    (segment,) = segments("########")
    assert in_frames(segment) == (0, 8)


def test_a_pause_shorter_than_the_limit_stays_in_the_audio() -> None:
    (segment,) = segments("......####....####.....")
    assert in_frames(segment) == (2, 20)
    assert segment.speech_ms == 12 * 30
    assert segment.voiced_ms == 8 * 30


def test_a_pause_as_long_as_the_limit_makes_two_segments_that_do_not_overlap() -> None:
    first, second = segments("......######.....######......")
    assert in_frames(first) == (2, 14)
    assert in_frames(second) == (14, 25)  # its pre-roll ends where the tail of the first begins
    assert second.speech_start_sample == 17 * FRAME_SAMPLES


def test_speech_shorter_than_the_minimum_is_skipped_and_says_how_long_it_was() -> None:
    started, skipped = hear("......#####......", Segmenter(CONFIG))
    assert isinstance(started, SpeechStarted)
    assert skipped == Skipped(
        start_sample=2 * FRAME_SAMPLES,
        end_sample=13 * FRAME_SAMPLES,
        speech_start_sample=6 * FRAME_SAMPLES,
        speech_end_sample=11 * FRAME_SAMPLES,
        speech_ms=150,
        minimum_ms=180,
    )


def test_the_minimum_counts_from_first_to_last_speech_frame_with_the_pauses_between() -> None:
    assert len(segments("......##..##......")) == 1


def test_speech_that_is_yet_too_short_has_more_time_to_go_on() -> None:
    config = replace(TELLING, skip_after_ms=300)
    (segment,) = segments("......####........####.....", config)
    assert segment.speech_ms == 16 * 30
    assert [type(event) for event in hear("......####..........", Segmenter(config), flush=False)] == [SpeechStarted, Skipped]
    assert len(segments("......######........####.....", config)) == 1  # the second is too short
    assert hear("......######.....", Segmenter(config), flush=False)[-1] == segments("......######.....", config)[0]


def test_a_stray_frame_in_the_pre_roll_is_heard_but_not_counted_as_speech() -> None:
    (segment,) = segments("........#..######......")
    assert segment.speech_start_sample == 11 * FRAME_SAMPLES
    assert segment.voiced_ms == 180


def test_the_end_of_the_stream_closes_what_is_open() -> None:
    (segment,) = segments("......########.")
    assert in_frames(segment) == (2, 15)


def test_the_end_of_the_stream_commits_everything() -> None:
    segmenter = Segmenter(CONFIG)
    hear("......########.", segmenter)
    assert segmenter.checkpoint == Checkpoint(15 * FRAME_SAMPLES)


def test_an_utterance_that_is_too_long_is_cut_in_the_middle_of_its_longest_recent_pause() -> None:
    first, second = segments("#" * 30 + "....####" + "#" * 10)
    assert in_frames(first) == (0, 32)
    assert in_frames(second) == (32, 48)
    assert first.continues
    assert second.continuing
    assert first.speech_end_sample == 30 * FRAME_SAMPLES
    assert second.speech_start_sample == 34 * FRAME_SAMPLES


def test_without_a_recent_pause_the_cut_is_hard_and_loses_no_sample() -> None:
    stream = "#" * 100
    pieces = segments(stream)
    assert [in_frames(piece) for piece in pieces] == [(0, 40), (40, 80), (80, 100)]
    assert [(piece.continuing, piece.continues) for piece in pieces] == [(False, True), (True, True), (True, False)]
    assert b"".join(piece.pcm for piece in pieces) == b"".join(frame(index) for index in range(100))


def test_a_pause_long_before_the_cut_is_no_place_to_cut() -> None:
    first, _ = segments("#" * 8 + "...." + "#" * 40)
    assert in_frames(first) == (0, 40)


def test_the_rest_of_a_cut_utterance_is_not_skipped_for_being_short() -> None:
    first, rest = segments("#" * 43 + "......")
    assert in_frames(first) == (0, 40)
    assert rest.speech_ms == 90 < CONFIG.min_speech_ms


def test_a_click_after_a_cut_is_skipped() -> None:
    events = hear("#" * 40 + "..#......", Segmenter(CONFIG))
    assert isinstance(events[-1], Skipped)
    assert (events[-1].speech_ms, events[-1].minimum_ms) == (30, 60)


def test_silence_after_a_cut_ends_the_utterance_without_another_word() -> None:
    events = hear("#" * 40 + "............", Segmenter(CONFIG))
    assert [type(event) for event in events] == [SpeechStarted, Segment]


def test_a_short_hole_becomes_silence_within_the_sentence() -> None:
    segmenter = Segmenter(CONFIG)
    hear("######", segmenter, flush=False)
    assert segmenter.gap(segmenter.next_sample, 3 * FRAME_SAMPLES) == []
    (segment,) = hear("######", segmenter)
    assert isinstance(segment, Segment)
    assert in_frames(segment) == (0, 15)
    assert segment.pcm[6 * 960 : 9 * 960] == bytes(3 * 960)


def test_a_long_hole_ends_the_sentence() -> None:
    segmenter = Segmenter(CONFIG)
    hear("########", segmenter, flush=False)
    (segment,) = segmenter.gap(segmenter.next_sample, 10**9 * FRAME_SAMPLES)
    assert isinstance(segment, Segment)
    assert in_frames(segment) == (0, 10)
    assert segmenter.next_sample == (10**9 + 8) * FRAME_SAMPLES


def test_a_hole_elsewhere_than_at_the_next_sample_is_refused() -> None:
    segmenter = Segmenter(CONFIG)
    with pytest.raises(ValueError, match="hole"):
        segmenter.gap(FRAME_SAMPLES, FRAME_SAMPLES)
    with pytest.raises(ValueError, match="hole"):
        segmenter.gap(0, 100)


def test_a_frame_out_of_turn_or_of_the_wrong_size_is_refused() -> None:
    segmenter = Segmenter(CONFIG)
    with pytest.raises(ValueError, match="needs 960 bytes at sample 0"):
        segmenter.push(FRAME_SAMPLES, frame(0), True)
    with pytest.raises(ValueError, match="needs 960 bytes at sample 0"):
        segmenter.push(0, b"\0" * 958, True)


def test_an_open_utterance_is_not_committed() -> None:
    segmenter = Segmenter(CONFIG)
    hear("......########", segmenter, flush=False)
    assert segmenter.checkpoint == Checkpoint(2 * FRAME_SAMPLES)
    hear(".....", segmenter, flush=False)
    assert segmenter.checkpoint == Checkpoint(16 * FRAME_SAMPLES)


def test_after_a_cut_the_checkpoint_says_that_the_utterance_goes_on() -> None:
    segmenter = Segmenter(CONFIG)
    hear("#" * 42, segmenter, flush=False)
    assert segmenter.checkpoint == Checkpoint(40 * FRAME_SAMPLES, continuing=True)


def test_a_segment_of_the_default_length_fits_into_thirty_seconds_with_its_pre_roll() -> None:
    pieces = segments("." * 20 + "#" * 2_000, SegmenterConfig())
    assert max(len(piece.pcm) for piece in pieces) == 30 * 16_000 * 2


def test_a_pause_is_told_with_the_segment_that_it_would_end() -> None:
    segmenter = Segmenter(TELLING)
    assert [type(event) for event in hear("......########.", segmenter, flush=False)] == [SpeechStarted]
    (paused,) = hear(".", segmenter, flush=False)
    assert isinstance(paused, Paused)
    assert in_frames(paused.segment) == (2, 16)
    assert paused.segment.revision == 14
    assert hear("..", segmenter, flush=False) == []
    assert hear(".", segmenter, flush=False) == [paused.segment]


def test_speech_after_a_pause_that_was_told_takes_it_back() -> None:
    segmenter = Segmenter(TELLING)
    events = hear("......########..#..", segmenter, flush=False)
    assert [type(event) for event in events] == [SpeechStarted, Paused, Resumed, Paused]
    assert [event.segment.revision for event in events if isinstance(event, Paused)] == [14, 17]
    assert events[2].start_sample == 2 * FRAME_SAMPLES


def test_no_pause_is_told_of_what_is_yet_too_short() -> None:
    assert [type(event) for event in hear("......#####.....", Segmenter(TELLING))] == [SpeechStarted, Skipped]


SHORT = replace(TELLING, short_ms=120, skip_after_ms=300)


def test_a_pause_is_told_of_what_is_too_short_but_may_count_and_it_is_skipped_all_the_same() -> None:
    segmenter = Segmenter(SHORT)
    assert [type(event) for event in hear("......###..........", segmenter, flush=False)] == [SpeechStarted, Skipped]
    started, paused, *later = hear("......####.........", segmenter, flush=False)
    assert (type(started), paused.is_short, later) == (SpeechStarted, True, [])  # type: ignore[union-attr]
    assert [type(event) for event in hear(".", segmenter, flush=False)] == [Skipped]


def test_short_words_that_count_are_an_utterance_at_the_end_of_their_pause() -> None:
    segmenter = Segmenter(SHORT)
    *_, paused = hear("......####..", segmenter, flush=False)
    assert isinstance(paused, Paused)
    assert segmenter.limit_silence(paused.segment.revision, 90, counts=True) == []
    assert hear(".", segmenter, flush=False) == [paused.segment]
    *_, skipped = hear("......####..........", segmenter, flush=False)
    assert isinstance(skipped, Skipped), "the next ones have to count anew"


def test_short_words_that_count_do_not_when_speech_goes_on_and_is_yet_too_short() -> None:
    segmenter = Segmenter(replace(SHORT, min_speech_ms=300))
    *_, paused = hear("......####..", segmenter, flush=False)
    assert isinstance(paused, Paused)
    assert segmenter.limit_silence(paused.segment.revision, 300, counts=True) == []
    resumed, again = hear("#..", segmenter, flush=False)
    assert (type(resumed), again.is_short) == (Resumed, True)  # type: ignore[union-attr]
    assert [type(event) for event in hear("........", segmenter, flush=False)] == [Skipped]


def test_a_hint_may_end_the_utterance_at_once_and_holds_for_that_pause_alone() -> None:
    segmenter = Segmenter(TELLING)
    *_, paused = hear("......########...", segmenter, flush=False)
    assert isinstance(paused, Paused)
    assert segmenter.limit_silence(paused.segment.revision, 90) == [paused.segment]
    assert segmenter.limit_silence(paused.segment.revision, 90) == []
    assert [type(event) for event in hear("########....", segmenter, flush=False)] == [SpeechStarted, Paused]
    assert len(hear(".", segmenter, flush=False)) == 1


def test_a_hint_may_make_the_pause_longer_until_somebody_speaks() -> None:
    segmenter = Segmenter(TELLING)
    *_, paused = hear("......########..", segmenter, flush=False)
    assert isinstance(paused, Paused)
    assert segmenter.limit_silence(paused.segment.revision, 300) == []
    assert hear("." * 7, segmenter, flush=False) == []
    resumed, again = hear("#..", segmenter, flush=False)
    assert isinstance(resumed, Resumed)
    assert isinstance(again, Paused)
    assert segmenter.limit_silence(paused.segment.revision, 60) == []  # of the pause before
    assert hear("...", segmenter, flush=False) == [again.segment]


def test_a_pause_in_which_an_utterance_is_cut_is_told_of_the_rest() -> None:
    events = hear("#" * 26 + "...." + "#" * 8 + "..", Segmenter(TELLING), flush=False)
    assert [type(event) for event in events] == [SpeechStarted, Paused, Resumed, Segment, SpeechStarted, Paused]
    cut, rest = events[3], events[5]
    assert isinstance(cut, Segment)
    assert isinstance(rest, Paused)
    assert (in_frames(cut), in_frames(rest.segment)) == ((0, 28), (28, 40))


@pytest.mark.parametrize(
    "numbers",
    [
        {"start_ms": 0},
        {"silence_limit_ms": 120},
        {"pre_roll_ms": -30},
        {"start_ms": 300, "start_window_ms": 150},
        {"pre_roll_ms": 9_900},
        {"pause_ms": 90, "tail_ms": 120},
        {"pause_ms": -30},
        {"short_ms": -30},
    ],
)
def test_numbers_that_contradict_each_other_are_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="segmenter: "):
        SegmenterConfig(**numbers)


def test_as_long_as_nobody_speaks_the_next_event_is_as_many_frames_away_as_an_utterance_needs_to_open() -> None:
    segmenter = Segmenter(CONFIG)
    assert segmenter.frames_to_event == 2
    hear("....", segmenter, flush=False)
    assert segmenter.frames_to_event == 2
    hear("#", segmenter, flush=False)
    assert segmenter.frames_to_event == 1
    hear("#.", segmenter, flush=False)  # open: what comes next may be a pause that is long enough
    assert segmenter.frames_to_event == 1
    hear("....", segmenter, flush=False)
    assert segmenter.frames_to_event == 2
