"""The same seed gives the same faults, and every fault can be struck."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chaos.faults import (
    ACTORS,
    CONSOLE,
    LAUNCHER,
    LONGEST_DELAY_MS,
    LONGEST_PAUSE_MS,
    MOMENTS,
    SHORTEST_PAUSE_MS,
    TAP,
    kinds_for,
    plan,
)
from chaos.sounds import sayings, scripts
from tests.e2e.assistant import SPEECH

seeds = st.integers(0, 2**32)
turns = st.integers(1, 2_000)
counts = st.integers(0, 300)


@given(seed=seeds, turns=turns, count=counts)
def test_the_same_seed_gives_the_same_faults(seed: int, turns: int, count: int) -> None:
    assert plan(seed, turns, count) == plan(seed, turns, count)


def test_another_seed_gives_other_faults() -> None:
    assert plan(1, 100, 100) != plan(2, 100, 100)


def test_the_faults_of_a_seed_stay_the_same_over_versions_of_this_program() -> None:
    first = plan(1, 1000, 1000)[0]
    assert (first.turn, first.moment, first.actor, first.kind, first.delay_ms) == PINNED


PINNED = (0, "answered done", "llm", "hang", 35.1)


@given(seed=seeds, turns=turns, count=counts)
def test_faults_come_in_the_order_of_their_turns_and_keep_the_limits(seed: int, turns: int, count: int) -> None:
    faults = plan(seed, turns, count)
    assert [fault.number for fault in faults] == list(range(count))
    assert [fault.turn for fault in faults] == sorted(fault.turn for fault in faults)
    for fault in faults:
        assert 0 <= fault.turn < turns
        assert fault.moment in MOMENTS
        assert fault.kind in kinds_for(fault.actor)
        assert 0 <= fault.delay_ms <= LONGEST_DELAY_MS
        assert (SHORTEST_PAUSE_MS <= fault.pause_ms <= LONGEST_PAUSE_MS) == (fault.kind == "pause")


def test_every_actor_every_fault_and_every_moment_comes_in_a_long_run() -> None:
    faults = plan(1, 1000, 2000)
    assert {(fault.actor, fault.kind) for fault in faults} == {(actor, kind) for actor in ACTORS for kind in kinds_for(actor)}
    assert {fault.moment for fault in faults} == set(MOMENTS)


def test_nobody_is_hung_who_is_not_watched() -> None:
    for actor in (LAUNCHER, TAP, CONSOLE):
        assert "hang" not in kinds_for(actor)


@given(seed=seeds, count=st.integers(1, 5), length=st.integers(1, 20))
def test_the_same_seed_gives_the_same_sounds(seed: int, count: int, length: int) -> None:
    drawn = scripts(seed, count, length, sayings())
    assert drawn == scripts(seed, count, length, sayings())
    assert [len(script) for script in drawn] == [length] * count


def test_there_are_short_sayings_to_draw_from() -> None:
    assert len(sayings()) > 10
    assert len(sayings("too-short")) > 0
    assert all((SPEECH / saying.file).exists() for saying in sayings())
