"""From the start of the program `supervisor start` until its actors are ready."""

from __future__ import annotations

from bench.instance import Assistant, assistant
from bench.result import Result, at_most, percentile
from bench.system import parse_journal

RUNS = 5
GOAL_S = 1.5
MODELS = "whisper"
"""Actors that load a model: how long that takes is the model's affair."""


def measure() -> list[Result]:
    """The median of several starts, models aside, and with the model of the rehearsal kit."""
    with assistant():
        pass  # leaves Python's bytecode behind, as every start but the very first finds it
    starts: list[dict[str, float]] = []
    begun_s: list[float] = []
    for _ in range(RUNS):
        with assistant() as running:
            starts.append(running.ready_after_s(running.begun_ns))
            begun_s.append(_begun_after_s(running))
    medians = {name: percentile([start[name] for start in starts], 50) for name in starts[0]}
    models = {name: time_s for name, time_s in medians.items() if name.startswith(MODELS)}
    others = {name: time_s for name, time_s in medians.items() if name != "launcher" and name not in models}
    slowest_s = percentile([max(start[name] for name in others) for start in starts], 50)
    return [
        at_most(
            GOAL_S,
            name="start, models aside",
            value=slowest_s,
            unit="s",
            meaning=f"until the last actor without a model is ready, median of {RUNS} starts, Whisper loading beside it",
        ),
        Result(
            name="start, all",
            value=medians["launcher"],
            unit="s",
            meaning="the same until all are ready, the rehearsal Whisper loaded and run once; the launcher, until it starts the others",
            parts={"launcher": percentile(begun_s, 50), **others, **models},
            parts_of="process",
        ),
    ]


def _begun_after_s(running: Assistant) -> float:
    """How long the launcher took to be imported and to read its settings, before it started anybody."""
    return next(time_ns - running.begun_ns for time_ns, _, state in parse_journal(running.journal) if state == "begins") / 1e9
