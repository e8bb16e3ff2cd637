"""When a failed child is started again, and when no more. Pure: the clock's value and the random number are handed in.

Each failure inside the window makes the next delay longer (times three, from 50 ms), and a budget of restarts per
window ends it: a child that cannot live should say so and not be spawned for ever. Times are monotonic, so that a
corrected wall clock neither forgives nor condemns.
"""

from __future__ import annotations

from dataclasses import dataclass

FACTOR = 3.0
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class RestartLimits:
    """How often, and how fast."""

    initial_s: float = 0.05
    """Delay of the first restart in a window."""
    max_s: float = 10.0
    """No delay is longer."""
    budget: int = 5
    """Restarts allowed in a window."""
    window_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Restart:
    """The answer to one failure."""

    history: tuple[float, ...]
    """Times of the restarts still inside the window; hand it in with the next failure."""
    delay_s: float | None
    """Wait this long, then start it again. None: the budget is spent."""


def after_failure(history: tuple[float, ...], now_s: float, chance: float, limits: RestartLimits) -> Restart:
    """Decide about a child that ended unasked.

    `history` is that of the last answer, `()` at first and after a start that a person asked for. `now_s` is monotonic,
    `chance` uniform in [0, 1): it shortens the delay by up to a fifth, so that children that fell together do not rise
    together.
    """
    recent = tuple(time_s for time_s in history if now_s - time_s < limits.window_s)
    if len(recent) >= limits.budget:
        return Restart(recent, None)
    delay_s = limits.initial_s
    for _ in recent:
        delay_s = min(delay_s * FACTOR, limits.max_s)
    return Restart((*recent, now_s), min(delay_s, limits.max_s) * (1.0 - JITTER * chance))
