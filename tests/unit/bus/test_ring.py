"""The ring against the simplest thing that is right: a list of all samples ever appended."""

from __future__ import annotations

import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.ring import Ring


def pcm(first: int, count: int) -> bytes:
    """Samples that tell their own number (modulo what an int16 holds, and never zero)."""
    return array.array("h", [(first + n) % 30_000 + 1 for n in range(count)]).tobytes()


def test_a_new_ring_is_empty_at_its_start() -> None:
    ring = Ring(8, start_sample=100)
    assert (ring.oldest, ring.newest) == (100, 100)
    assert ring.read(0, 50) == (100, b"")


def test_what_was_appended_is_read_back_under_its_own_number() -> None:
    ring = Ring(8)
    ring.append(0, pcm(0, 5))
    assert ring.read(2, 2) == (2, pcm(2, 2))


def test_the_oldest_samples_are_overwritten_and_the_reader_is_told_where_the_rest_begins() -> None:
    ring = Ring(8)
    ring.append(0, pcm(0, 6))
    ring.append(6, pcm(6, 6))
    assert (ring.oldest, ring.newest) == (4, 12)
    assert ring.read(0, 100) == (4, pcm(4, 8))


def test_a_hole_reads_as_silence() -> None:
    ring = Ring(8)
    ring.append(0, pcm(0, 2))
    ring.append(5, pcm(5, 1))
    assert ring.read(0, 100) == (0, pcm(0, 2) + bytes(6) + pcm(5, 1))


def test_a_hole_as_long_as_the_ring_leaves_only_what_came_after_it() -> None:
    ring = Ring(8)
    ring.append(0, pcm(0, 4))
    ring.append(12, pcm(12, 3))
    assert ring.read(0, 100) == (12, pcm(12, 3))


def test_a_step_back_is_refused_and_changes_nothing() -> None:
    ring = Ring(8)
    ring.append(0, pcm(0, 4))
    with pytest.raises(ValueError, match="sample 3 is already in the ring"):
        ring.append(3, pcm(3, 4))
    assert ring.read(0, 100) == (0, pcm(0, 4))


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        Ring(8).append(0, b"abc")


def test_a_ring_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="positive capacity"):
        Ring(0)


@given(
    capacity=st.integers(1, 40),
    start=st.integers(0, 1_000),
    steps=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=30),
    since=st.integers(0, 4_000),
    max_samples=st.integers(0, 60),
)
def test_the_ring_is_the_end_of_everything_ever_appended(
    capacity: int, start: int, steps: list[tuple[int, int]], since: int, max_samples: int
) -> None:
    ring = Ring(capacity, start)
    everything = b""
    for hole, count in steps:
        first = ring.newest + hole
        ring.append(first, pcm(first, count))
        everything += bytes(2 * hole) + pcm(first, count)
        assert ring.newest == start + len(everything) // 2
        assert start <= ring.oldest <= ring.newest
        assert ring.newest - ring.oldest <= capacity
        if not hole:
            assert ring.newest - ring.oldest >= min(capacity, count)
    first, got = ring.read(since, max_samples)
    assert first == min(max(since, ring.oldest), ring.newest)
    assert got == everything[2 * (first - start) :][: 2 * min(max_samples, ring.newest - first)]
