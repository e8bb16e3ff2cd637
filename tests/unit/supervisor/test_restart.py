"""Restarts: the delays grow, and the budget ends them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.restart import JITTER, RestartLimits, after_failure

LIMITS = RestartLimits()


def delays(times: list[float], limits: RestartLimits = LIMITS, chance: float = 0.0) -> list[float | None]:
    history: tuple[float, ...] = ()
    result = []
    for time_s in times:
        answer = after_failure(history, time_s, chance, limits)
        history = answer.history
        result.append(answer.delay_s)
    return result


def test_the_first_restart_comes_almost_at_once_and_each_further_one_later() -> None:
    assert [round(delay or -1, 3) for delay in delays([0, 1, 2, 3, 4])] == [0.05, 0.15, 0.45, 1.35, 4.05]


def test_a_failure_beyond_the_budget_ends_it() -> None:
    assert delays([0, 1, 2, 3, 4, 5])[-1] is None


def test_failures_that_left_the_window_are_forgiven() -> None:
    assert delays([0, 31, 62, 93, 124, 155, 186]) == [0.05] * 7


def test_the_budget_refills_as_single_failures_leave_the_window() -> None:
    assert delays([0, 1, 2, 3, 4, 5, 30.5])[-2:] == [None, pytest.approx(4.05)]


def test_a_budget_of_none_allows_no_restart() -> None:
    assert delays([0], RestartLimits(budget=0)) == [None]


def test_jitter_only_shortens_the_delay() -> None:
    assert delays([0], chance=0.999)[0] == 0.05 * (1 - JITTER * 0.999)


chances = st.floats(0, 1, exclude_max=True)
limits = st.builds(
    RestartLimits,
    initial_s=st.floats(0, 5),
    max_s=st.floats(0.001, 60),
    budget=st.integers(0, 12),
    window_s=st.floats(0.1, 1000),
)
failures = st.lists(st.tuples(st.floats(0, 50), chances), max_size=60)


@given(limits, failures)
def test_no_window_ever_holds_more_restarts_than_the_budget(limits: RestartLimits, failures: list[tuple[float, float]]) -> None:
    history: tuple[float, ...] = ()
    now_s, restarts = 0.0, []
    for gap_s, chance in failures:
        now_s += gap_s
        answer = after_failure(history, now_s, chance, limits)
        history = answer.history
        if answer.delay_s is not None:
            restarts.append(now_s)
        inside = [time_s for time_s in restarts if now_s - time_s < limits.window_s]
        assert len(inside) <= limits.budget
        assert len(history) <= limits.budget


@given(limits, failures)
def test_every_delay_is_within_its_bounds(limits: RestartLimits, failures: list[tuple[float, float]]) -> None:
    history: tuple[float, ...] = ()
    now_s = 0.0
    for gap_s, chance in failures:
        now_s += gap_s
        answer = after_failure(history, now_s, chance, limits)
        history = answer.history
        if answer.delay_s is not None:
            assert min(limits.initial_s, limits.max_s) * (1 - JITTER) <= answer.delay_s <= limits.max_s
