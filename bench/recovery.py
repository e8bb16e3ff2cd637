"""`kill -9`, and how long until the actor is ready again."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

from bench.instance import Assistant, assistant, wait_for
from bench.result import Result, at_most, percentile
from bench.system import parse_journal

ROUNDS = 3
GOAL_MS = 500.0
WATCHDOG_MS = 2000.0
HANG_GOAL_MS = WATCHDOG_MS + 1000.0
ACTORS = ("broker", "dispatcher", "memory", "dialogue", "llm", "vad", "rehearsal-llm")


def measure() -> list[Result]:
    """The median over all kills. Each round has an assistant of its own, for a second failure within half a minute waits longer."""
    times_ms: dict[str, list[float]] = {name: [] for name in ACTORS}
    for _ in range(ROUNDS):
        with assistant() as running:
            for name in ACTORS:
                times_ms[name].append(_kill(running, name))
    every = [time_ms for found in times_ms.values() for time_ms in found]
    return [
        at_most(
            GOAL_MS,
            name="recovery p50",
            value=percentile(every, 50),
            unit="ms",
            meaning=f"from kill -9 to ready again in {len(every)} kills, the pause of 50 ms before a restart included",
            parts={name: percentile(found, 50) for name, found in times_ms.items()},
        ),
        _hangs(),
    ]


def _hangs() -> Result:
    with assistant() as running:
        times_ms = {name: _stop(running, name) for name in ACTORS}
    return at_most(
        HANG_GOAL_MS,
        name="hang caught, longest",
        value=max(times_ms.values()),
        unit="ms",
        meaning=f"from SIGSTOP until the launcher takes the actor for hung; the watchdog waits {WATCHDOG_MS:g} ms",
        parts=times_ms,
    )


def _stop(running: Assistant, name: str) -> float:
    stopped_ns = time.time_ns()
    os.kill(running.pids()[name], signal.SIGSTOP)
    caught: list[int] = []

    def look() -> bool:
        caught[:] = [
            at_ns for at_ns, who, state in parse_journal(running.journal) if (who, state) == (name, "stopping") and at_ns >= stopped_ns
        ]
        return bool(caught)

    wait_for(look, f"{name} to be taken for hung")
    wait_for(lambda: name in running.ready_after_s(stopped_ns), f"{name} to be back")
    return (caught[0] - stopped_ns) / 1e6


def _kill(running: Assistant, name: str) -> float:
    pid = running.pids()[name]
    killed_ns = time.time_ns()
    os.kill(pid, signal.SIGKILL)
    back = partial(running.ready_after_s, killed_ns)
    wait_for(lambda: name in back(), f"{name} to be back")
    return back()[name] * 1000
