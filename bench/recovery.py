"""`kill -9`, and how long until the actor is ready again; SIGSTOP, and how long until it is taken for hung."""

from __future__ import annotations

import os
import signal
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from bench.instance import Assistant, assistant, wait_for
from bench.result import Result, at_most, percentile
from bench.system import parse_journal
from bus.limits import SAMPLE_BYTES, SAMPLE_RATE_HZ

ROUNDS = 3
GOAL_MS = 500.0
WATCHDOG_MS = 2000.0
HANG_GOAL_MS = WATCHDOG_MS + 1000.0
ACTORS = ("broker", "dispatcher", "memory", "dialogue", "llm", "vad", "rehearsal-llm", "recorder", "mic")
WITH_MODEL = "whisper-1"
SILENCE_S = 60


def measure() -> list[Result]:
    """The medians over all kills. Each round has an assistant of its own, for a second failure within half a minute waits longer."""
    times_ms: dict[str, list[float]] = {name: [] for name in (*ACTORS, WITH_MODEL)}
    with _quiet_assistants() as start:
        for _ in range(ROUNDS):
            with start() as running:
                for name, found in times_ms.items():
                    found.append(_kill(running, name))
        with start() as running:
            caught_ms = {name: _stop(running, name) for name in times_ms}
    every = [time_ms for name in ACTORS for time_ms in times_ms[name]]
    return [
        at_most(
            GOAL_MS,
            name="recovery p50",
            value=percentile(every, 50),
            unit="ms",
            meaning=f"from kill -9 to ready again in {len(every)} kills, models aside, the pause of 50 ms before a restart included",
            parts={name: percentile(found, 50) for name, found in times_ms.items()},
            parts_of="process",
        ),
        Result(
            name="recovery, Whisper",
            value=percentile(times_ms[WITH_MODEL], 50),
            unit="ms",
            meaning="the same of a worker that loads the rehearsal model; a real model takes as long as it takes to be read",
        ),
        at_most(
            HANG_GOAL_MS,
            name="hang caught, longest",
            value=max(caught_ms.values()),
            unit="ms",
            meaning=f"from SIGSTOP until the launcher takes the actor for hung; the watchdog waits {WATCHDOG_MS:g} ms",
            parts=caught_ms,
            parts_of="process",
        ),
    ]


@contextmanager
def _quiet_assistants() -> Iterator[Callable[[], AbstractContextManager[Assistant]]]:
    """Assistants whose microphone is a file of silence, so that there is one to be killed."""
    with tempfile.NamedTemporaryFile(prefix="eb-", suffix=".wav") as file:
        with wave.open(file.name, "wb") as silence:
            silence.setparams((1, SAMPLE_BYTES, SAMPLE_RATE_HZ, 0, "NONE", ""))
            silence.writeframes(bytes(SILENCE_S * SAMPLE_RATE_HZ * SAMPLE_BYTES))
        yield partial(assistant, "mic.source=file", f"mic.file={file.name}")


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
