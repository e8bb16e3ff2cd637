"""What an assistant costs that waits for somebody to speak: without a source of sound, and with one in a quiet room."""

from __future__ import annotations

import json
import os
import random
import time
from array import array
from collections.abc import Callable, Mapping

from bench.instance import Assistant, assistant, running
from bench.result import Result, at_most
from bench.system import cpu_s, rss_mb
from bus.limits import FRAME_MS, FRAME_SAMPLES
from supervisor.modules import command

SETTLE_S = 3.0
WATCHED_S = 20.0
GOAL_PERCENT = 3.0
LOUDNESS = 8
"""Of the noise in the quiet room: its highest sample, of 32767."""


def measure() -> list[Result]:
    """Processor time in percent of one core, and resident memory, of all processes together and of each."""
    with assistant() as found:
        pids = {"launcher": found.pid, **found.pids()}
        time.sleep(SETTLE_S)
        idle = _percents(pids, time.sleep)
        memory_mb = {name: rss_mb(pid) for name, pid in pids.items()}
        listening = _listen(found, pids)
    return [
        at_most(
            GOAL_PERCENT,
            name="idle",
            value=sum(idle.values()),
            unit="% core",
            meaning=f"processor time of all {len(pids)} processes over {WATCHED_S:.0f} s, without a source of sound",
            parts=idle,
        ),
        at_most(
            GOAL_PERCENT,
            name="idle, listening",
            value=sum(listening.values()),
            unit="% core",
            meaning="the same with a source that streams the noise of a quiet room, 33 frames a second",
            parts=listening,
        ),
        Result(
            name="memory",
            value=sum(memory_mb.values()),
            unit="MB",
            meaning="resident memory of all processes when idle, what they share counted in each",
            parts=memory_mb,
        ),
    ]


def _listen(found: Assistant, pids: Mapping[str, int]) -> dict[str, float]:
    """Raw PCM comes through a pipe at the pace of a microphone: a device driver is nothing to measure here."""
    reader, writer = os.pipe()
    source = command("actors", "mic", "--set", f"mic.source={json.dumps('stdin')}")
    try:
        with running(source, found.addresses, stdin=reader) as mic:
            _play(writer, SETTLE_S)
            return _percents({**pids, "mic": mic}, lambda seconds: _play(writer, seconds))
    finally:
        os.close(reader)
        os.close(writer)


def _play(pipe: int, seconds: float) -> None:
    noise = random.Random(1)
    due_s = time.monotonic()
    for _ in range(round(seconds * 1000 / FRAME_MS)):
        os.write(pipe, array("h", [noise.randint(-LOUDNESS, LOUDNESS) for _ in range(FRAME_SAMPLES)]).tobytes())
        due_s += FRAME_MS / 1000
        time.sleep(max(0.0, due_s - time.monotonic()))


def _percents(pids: Mapping[str, int], wait: Callable[[float], None]) -> dict[str, float]:
    """Each process's share of one core, in percent, during `wait`."""
    begin_s = time.monotonic()
    before_s = {name: cpu_s(pid) for name, pid in pids.items()}
    wait(WATCHED_S)
    watched_s = time.monotonic() - begin_s
    return {name: (cpu_s(pid) - before_s[name]) / watched_s * 100 for name, pid in pids.items()}
