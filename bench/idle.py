"""What an assistant costs that waits for somebody to speak."""

from __future__ import annotations

import time

from bench.instance import assistant
from bench.result import Result, at_most
from bench.system import cpu_s, rss_mb

SETTLE_S = 3.0
WATCHED_S = 20.0
GOAL_PERCENT = 3.0


def measure() -> list[Result]:
    """Processor time in percent of one core, and resident memory, of all processes together and of each."""
    with assistant() as running:
        pids = {"launcher": running.pid, **running.pids()}
        time.sleep(SETTLE_S)
        begin_s = time.monotonic()
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        time.sleep(WATCHED_S)
        watched_s = time.monotonic() - begin_s
        percents = {name: (cpu_s(pid) - before[name]) / watched_s * 100 for name, pid in pids.items()}
        memory_mb = {name: rss_mb(pid) for name, pid in pids.items()}
    return [
        at_most(
            GOAL_PERCENT,
            name="idle",
            value=sum(percents.values()),
            unit="% of a core",
            meaning=f"processor time of all {len(pids)} processes over {WATCHED_S:.0f} s in which nobody speaks",
            parts=percents,
        ),
        Result(
            name="memory",
            value=sum(memory_mb.values()),
            unit="MB",
            meaning="resident memory of all processes, what they share counted in each",
            parts=memory_mb,
        ),
    ]
