"""Frames out of pieces, and when each is due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.mic.pacer import Pacer
from actors.mic.sources import Cutter, Frame
from bus.limits import FRAME_BYTES, FRAME_SAMPLES

SECOND_NS = 1_000_000_000


@given(pieces=st.lists(st.binary(max_size=3_000), max_size=10), first=st.integers(0, 10))
def test_the_frames_are_the_pieces_joined_whatever_their_sizes(pieces: list[bytes], first: int) -> None:
    cutter = Cutter(first * FRAME_SAMPLES)
    frames = [frame for piece in pieces for frame in cutter.feed(piece)] + cutter.finish()
    joined = b"".join(pieces)
    assert b"".join(frame.pcm for frame in frames) == joined + bytes(-len(joined) % FRAME_BYTES)
    assert all(len(frame.pcm) == FRAME_BYTES for frame in frames)
    assert [frame.first_sample for frame in frames] == [(first + n) * FRAME_SAMPLES for n in range(len(frames))]


def test_after_a_hole_the_numbers_go_on_later() -> None:
    cutter = Cutter()
    cutter.feed(bytes(FRAME_BYTES))
    assert cutter.skip(3) == []
    assert cutter.feed(b"\1" * FRAME_BYTES) == [Frame(4 * FRAME_SAMPLES, b"\1" * FRAME_BYTES)]


def test_what_is_left_over_before_a_hole_becomes_its_first_frame() -> None:
    cutter = Cutter()
    cutter.feed(b"\1" * 100)
    assert cutter.skip(3) == [Frame(0, b"\1" * 100 + bytes(FRAME_BYTES - 100))]
    assert cutter.next_sample == 3 * FRAME_SAMPLES


def test_no_hole_leaves_what_is_left_over_where_it_was() -> None:
    cutter = Cutter()
    cutter.feed(b"\1" * 100)
    assert cutter.skip(0) == []
    (frame,) = cutter.feed(b"\2" * (FRAME_BYTES - 100))
    assert frame.pcm == b"\1" * 100 + b"\2" * (FRAME_BYTES - 100)


def test_at_real_pace_a_frame_is_due_when_its_last_sample_has_been_spoken() -> None:
    pacer = Pacer("real")
    assert pacer.wait_s(0, now_ns=SECOND_NS) == pytest.approx(0.03)
    assert pacer.wait_s(0, now_ns=SECOND_NS + 30_000_000) == 0.0
    assert pacer.wait_s(99 * FRAME_SAMPLES, now_ns=SECOND_NS + 30_000_000) == pytest.approx(2.97)


def test_after_a_delay_the_frames_that_are_overdue_come_at_once() -> None:
    pacer = Pacer("real")
    pacer.wait_s(0, now_ns=0)
    assert [pacer.wait_s(n * FRAME_SAMPLES, now_ns=SECOND_NS) for n in range(33)] == [0.0] * 33
    assert pacer.wait_s(33 * FRAME_SAMPLES, now_ns=SECOND_NS) > 0


def test_a_source_that_goes_on_in_the_middle_does_not_hurry_through_what_was_before() -> None:
    pacer = Pacer("real")
    assert pacer.wait_s(1_000 * FRAME_SAMPLES, now_ns=5 * SECOND_NS) == pytest.approx(0.03)


def test_at_full_pace_every_frame_is_due() -> None:
    pacer = Pacer("fast")
    assert pacer.wait_s(0, now_ns=0) == pacer.wait_s(10**9, now_ns=0) == 0.0
