"""One measured figure, and the arithmetic that all benchmarks share. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the table."""

    name: str
    value: float
    unit: str
    meaning: str
    """What was measured, for people; empty where the line before this one tells."""
    baseline: float | None = None
    """The same thing measured in the same run without the part of Earshot that is in question, in `unit`."""
    ratio: float | None = None
    """`value` / `baseline`."""
    goal: str = ""
    """What is to be reached, for people; empty: this is a figure and no promise."""
    ok: bool | None = None
    """Whether the goal was reached; None without a goal."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """What `value` is made of, or the same figure of each of several, in `unit`."""
    parts_of: str = ""
    """What the parts are, in one word: the heading of their table."""


def at_most(
    goal: float, *, name: str, value: float, unit: str, meaning: str, parts: Mapping[str, float] | None = None, parts_of: str = ""
) -> Result:
    """A figure with an upper limit."""
    return Result(
        name=name,
        value=value,
        unit=unit,
        meaning=meaning,
        goal=f"≤ {goal:g} {unit}",
        ok=value <= goal,
        parts=parts or {},
        parts_of=parts_of,
    )


def at_least(goal: float, *, name: str, value: float, unit: str, meaning: str) -> Result:
    """A figure with a lower limit."""
    return Result(name=name, value=value, unit=unit, meaning=meaning, goal=f"≥ {goal:g} {unit}", ok=value >= goal)


def against(
    baseline: float,
    *,
    name: str,
    value: float,
    unit: str,
    meaning: str,
    goal_ratio: float | None = None,
    more_is_better: bool = False,
    parts: Mapping[str, float] | None = None,
    parts_of: str = "",
) -> Result:
    """A figure beside its baseline, and the highest ratio that is wanted, or the lowest, if any."""
    ratio = value / baseline if baseline else math.inf
    goal, ok = "", None
    if goal_ratio is not None:
        goal = f"{'≥' if more_is_better else '≤'} {goal_ratio:g}×"
        ok = ratio >= goal_ratio if more_is_better else ratio <= goal_ratio
    return Result(
        name=name,
        value=value,
        unit=unit,
        meaning=meaning,
        baseline=baseline,
        ratio=ratio,
        goal=goal,
        ok=ok,
        parts=parts or {},
        parts_of=parts_of,
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of 100 values do not pass (nearest rank). Raise ValueError without values."""
    if not values:
        raise ValueError("no values were measured")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
