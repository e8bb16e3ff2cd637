"""The user is told of a wait once, after the patience is over, and the time for an answer is counted once for all attempts."""

from __future__ import annotations

from actors.llm.attempt import Budget
from actors.llm.silence import Silence
from actors.timers import Timers
from bus.clock import ManualClock

PATIENCE_S = 3.0


class Listener:
    """Counts what it is told, on a clock turned by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.timers = Timers(self.clock.monotonic_ns)
        self.told = 0
        self.silence = Silence(PATIENCE_S, self.clock, self.timers.after, self.count)

    def count(self) -> None:
        self.told += 1

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance_s(0.1)
            self.timers.run_due()


def test_a_silence_is_told_once_when_the_patience_is_over() -> None:
    listener = Listener()
    listener.silence.heard()
    listener.wait(2.9)
    assert listener.told == 0
    listener.wait(0.2)
    assert listener.told == 1
    listener.wait(100)
    assert listener.told == 1


def test_an_answer_that_keeps_coming_is_not_told_of() -> None:
    listener = Listener()
    for _ in range(50):
        listener.silence.heard()
        listener.wait(2.5)
    assert listener.told == 0


def test_a_second_silence_is_told_too() -> None:
    listener = Listener()
    listener.silence.heard()
    listener.wait(4)
    listener.silence.heard()
    listener.wait(4)
    assert listener.told == 2


def test_a_wait_that_the_user_knows_of_already_is_not_told_again() -> None:
    listener = Listener()
    listener.silence.heard()
    listener.silence.told = True
    listener.wait(10)
    assert listener.told == 0


def test_after_the_end_nothing_is_told() -> None:
    listener = Listener()
    listener.silence.heard()
    listener.silence.end()
    listener.wait(10)
    assert listener.told == 0
    assert listener.timers.wait_ms(1000) == 1000


def test_the_attempts_at_one_job_share_its_time_and_another_job_has_its_own() -> None:
    clock = ManualClock()
    budget = Budget(clock, 45.0)
    assert budget.begin("one")
    clock.advance_s(30)
    assert not budget.begin("one")
    assert budget.left_s() == 15.0
    assert budget.begin("two")
    assert budget.left_s() == 45.0


def test_the_time_in_which_the_server_was_not_there_does_not_count() -> None:
    clock = ManualClock()
    budget = Budget(clock, 45.0)
    budget.begin("one")
    clock.advance_s(600)
    budget.restart()
    assert budget.left_s() == 45.0
