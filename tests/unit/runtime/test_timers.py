"""Timers run when they are due, in order, and never twice."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from actors.timers import SWEEP_AT_LEAST, Timers


class Turning:
    """A clock turned by hand, and timers on it."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.timers = Timers(lambda: self.now_ns)
        self.ran: list[str] = []

    def run(self, name: str) -> None:
        self.ran.append(name)

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)
        self.timers.run_due()


def test_a_timer_runs_once_when_it_is_due() -> None:
    clock = Turning()
    clock.timers.after(1.0, lambda: clock.run("a"))
    clock.advance(0.9)
    assert clock.ran == []
    clock.advance(0.2)
    clock.advance(5)
    assert clock.ran == ["a"]


def test_a_late_interval_does_not_catch_up() -> None:
    clock = Turning()
    clock.timers.every(1.0, lambda: clock.run("a"))
    clock.advance(10)
    assert clock.ran == ["a"]
    clock.advance(1)
    assert clock.ran == ["a", "a"]


def test_a_cancelled_timer_does_not_run_even_when_cancelled_by_one_before_it() -> None:
    clock = Turning()
    second = clock.timers.after(2.0, lambda: clock.run("b"))
    clock.timers.after(1.0, second.cancel)
    clock.advance(3)
    assert clock.ran == []


def test_a_timer_may_set_another() -> None:
    clock = Turning()

    def set_another() -> None:
        clock.timers.after(0.0, lambda: clock.run("b"))

    clock.timers.after(1.0, set_another)
    clock.advance(1)
    clock.advance(0)
    assert clock.ran == ["b"]


@given(st.lists(st.floats(0, 10), max_size=20))
def test_timers_run_in_the_order_in_which_they_are_due(delays: list[float]) -> None:
    clock = Turning()
    ran: list[float] = []
    for delay in delays:
        clock.timers.after(delay, partial(ran.append, round(delay * 1e9)))
    clock.advance(11)
    assert ran == sorted(ran)
    assert len(ran) == len(delays)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=20), st.integers(0, 1000))
def test_the_loop_sleeps_no_longer_than_until_the_next_timer(delays: list[float], most_ms: int) -> None:
    clock = Turning()
    for delay in delays:
        clock.timers.after(delay, lambda: None)
    wait_ms = clock.timers.wait_ms(most_ms)
    assert 0 <= wait_ms <= most_ms
    assert wait_ms <= min(delays) * 1000 + 1


def test_a_far_timer_that_is_planned_anew_again_and_again_leaves_nothing_behind() -> None:
    clock = Turning()
    for _ in range(10_000):
        clock.timers.after(1e9, partial(clock.run, "far")).cancel()
    assert len(clock.timers._heap) <= SWEEP_AT_LEAST + 1
