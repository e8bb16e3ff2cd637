"""What an assistant costs while nobody asks it anything: without a source of sound, with one in a quiet room, and while it records."""

from __future__ import annotations

import json
import os
import random
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle

from bench.instance import Assistant, assistant, running
from bench.result import Result, at_most
from bench.sound import CONVERSATION, frames, read_wav
from bench.system import cpu_s, rss_mb
from bus.limits import FRAME_MS, FRAME_SAMPLES
from supervisor.modules import command
from supervisor.record import RecorderLine

SETTLE_S = 3.0
WATCHED_S = 12.0
GOAL_PERCENT = 3.0
RECORDING_GOAL_PERCENT = 5.0
LOUDNESS = 8
"""Of the noise in the quiet room: its highest sample, of 32767."""
NOISE_FRAMES = 1000
Shares = dict[str, float]


def measure() -> list[Result]:
    """Processor time in percent of one core, and resident memory, of all processes together and of each."""
    with assistant() as found:
        pids = {"launcher": found.pid, **found.pids()}
        time.sleep(SETTLE_S)
        idle = _shares(pids, time.sleep)
        memory_mb = {name: rss_mb(pid) for name, pid in pids.items()}
        listening, speaking, recording = _listen(found, pids)
    return [
        at_most(
            GOAL_PERCENT,
            name="idle",
            value=sum(idle.values()),
            unit="% core",
            meaning=f"processor time of all {len(pids)} processes over {WATCHED_S:.0f} s, without a source of sound",
            parts=idle,
            parts_of="process",
        ),
        at_most(
            GOAL_PERCENT,
            name="idle, listening",
            value=sum(listening.values()),
            unit="% core",
            meaning="the same with a source that streams the noise of a quiet room, 33 frames a second",
            parts=listening,
            parts_of="process",
        ),
        at_most(
            RECORDING_GOAL_PERCENT,
            name="flight recorder",
            value=listening["recorder"],
            unit="% core",
            meaning="the share of the process that keeps the last minutes of events, while listening",
        ),
        at_most(
            RECORDING_GOAL_PERCENT,
            name="recording with sound",
            value=recording_cost(speaking, recording),
            unit="% core",
            meaning="the recorder's share during `supervisor record` of a conversation, and how much more the microphone's process takes",
            parts=recording,
            parts_of="process",
        ),
        Result(
            name="memory",
            value=sum(memory_mb.values()),
            unit="MB",
            meaning="resident memory of all processes when idle, what they share counted in each",
            parts=memory_mb,
            parts_of="process",
        ),
    ]


def recording_cost(before: Mapping[str, float], during: Mapping[str, float]) -> float:
    """What a recording takes of a core: all of the recorder, and what its ear costs the source."""
    return during["recorder"] + max(0.0, during["mic"] - before["mic"])


def _listen(found: Assistant, pids: Mapping[str, int]) -> tuple[Shares, Shares, Shares]:
    """The shares in a quiet room, in a conversation, and in one that is recorded."""
    noise = random.Random(1)
    quiet = [array("h", [noise.randint(-LOUDNESS, LOUDNESS) for _ in range(FRAME_SAMPLES)]).tobytes() for _ in range(NOISE_FRAMES)]
    spoken = frames(read_wav(CONVERSATION))
    with _source(found) as (pipe, mic):
        everybody = {**pids, "mic": mic}
        _play(pipe, quiet, SETTLE_S)
        listening = _shares(everybody, lambda seconds: _play(pipe, quiet, seconds))
        speaking = _shares(everybody, lambda seconds: _play(pipe, spoken, seconds))
        with RecorderLine(found.addresses) as line:
            line.start(found.addresses.state_dir / "session.mcap", sound=True, text=True)
            recording = _shares(everybody, lambda seconds: _play(pipe, spoken, seconds))
            line.stop()
    return listening, speaking, recording


@contextmanager
def _source(found: Assistant) -> Iterator[tuple[int, int]]:
    """A source that reads a pipe, the end to write to and its process: a device driver is nothing to measure here."""
    reader, writer = os.pipe()
    source = command("actors", "mic", "--set", f"mic.source={json.dumps('stdin')}")
    try:
        with running(source, found.addresses, stdin=reader) as mic:
            yield writer, mic
    finally:
        os.close(reader)
        os.close(writer)


def _play(pipe: int, sound: Sequence[bytes], seconds: float) -> None:
    """At the pace of a microphone."""
    due_s = time.monotonic()
    for _, pcm in zip(range(round(seconds * 1000 / FRAME_MS)), cycle(sound), strict=False):
        os.write(pipe, pcm)
        due_s += FRAME_MS / 1000
        time.sleep(max(0.0, due_s - time.monotonic()))


def _shares(pids: Mapping[str, int], wait: Callable[[float], None]) -> Shares:
    """Each process's share of one core, in percent, during `wait`."""
    begin_s = time.monotonic()
    before_s = {name: cpu_s(pid) for name, pid in pids.items()}
    wait(WATCHED_S)
    watched_s = time.monotonic() - begin_s
    return {name: (cpu_s(pid) - before_s[name]) / watched_s * 100 for name, pid in pids.items()}
