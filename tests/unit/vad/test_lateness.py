"""When a frame counts as heard too late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.vad.lateness import Lateness

MS = 1_000_000
DAY_FRAMES = 24 * 3600 * 1000 // 30


def test_a_segmenter_that_keeps_up_is_never_late() -> None:
    lateness = Lateness(1000)
    assert not any(lateness.is_stale(n * 30 * MS, n * 30 * MS + 900 * MS) for n in range(1000))


def test_frames_that_waited_for_a_stopped_segmenter_are_late_until_it_has_caught_up() -> None:
    lateness = Lateness(1000)
    now_ns = 10_000 * MS  # ten seconds of sound lie there when it goes on
    late = [lateness.is_stale(n * 30 * MS, max(now_ns, n * 30 * MS)) for n in range(400)]
    assert sum(late) == 300
    assert not any(late[300:])


def test_a_file_that_is_read_as_fast_as_it_is_heard_is_never_late_however_long_it_waits_at_the_source() -> None:
    lateness = Lateness(1000)
    assert not any(lateness.is_stale(0, n * 20 * MS) for n in range(2000))


def test_a_microphone_is_at_pace_although_its_device_delivers_several_frames_at_once() -> None:
    lateness = Lateness(1000)
    for n in range(0, 300, 4):
        for k in range(4):
            lateness.is_stale((n + 3) * 30 * MS, (n + 3 + k) * 30 * MS)
            assert lateness.at_pace


def test_a_file_that_is_read_as_fast_as_it_is_heard_is_ahead_of_its_pace() -> None:
    lateness = Lateness(1000)
    for n in range(20):
        lateness.is_stale(n * MS, n * MS)
    assert not lateness.at_pace


def test_a_sound_card_with_a_fast_clock_gains_no_credit_over_the_days() -> None:
    lateness = Lateness(1000)
    step_ns = round(29.99 * MS)
    for n in range(DAY_FRAMES // 10):
        lateness.is_stale(n * step_ns, n * step_ns)
    captured_ns = DAY_FRAMES // 10 * step_ns
    assert lateness.is_stale(captured_ns, captured_ns + 1001 * MS)


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12))), st.integers(100, 60_000))
def test_only_a_frame_older_than_the_limit_is_ever_late(frames: list[tuple[int, int]], stale_ms: int) -> None:
    lateness = Lateness(stale_ms)
    for captured_ns, now_ns in frames:
        assert not (lateness.is_stale(captured_ns, now_ns) and now_ns - captured_ns <= stale_ms * MS)
