"""Whole turns, spoken at real pace: what the way through the processes adds, and whether the parts of the wait add up to it."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Mapping
from typing import Any

from bench.instance import Assistant, BenchError, assistant
from bench.result import Result, at_most, percentile
from bench.sound import SPEECH
from bus.limits import FRAME_MS
from bus.settings import load_resolved
from bus.timings import PARTS, TOTAL, TOTAL_TO_FIRST_TOKEN, WAITED
from supervisor.modules import command, environ

FILES = (
    "conversation.wav",
    *("joke-slt.wav", "sum-rms.wav", "light-awb.wav", "password-kal16.wav", "package-espeak.flac", "timer-noisy.wav", "pauses.wav"),
)
FIXED = "vad.endpoint=fixed"
"""Else the silence that is waited for depends on what was said, and nobody could tell how late its end was noticed."""
GOALS_MS = {50: 5.0, 99: 25.0}
SUM_GOAL_MS = 1.0
NOT_OURS = ("endpoint_wait", "transcribe", "first_token")
"""The parts of the wait that the silence limit and the two models take. What a model did ahead, in the silence, is in none of them."""
OURS = tuple(part for part in WAITED if part not in NOT_OURS)


def measure() -> list[Result]:
    """The overhead of the pipeline in each turn, how late the end of speech is decided, and how exactly the parts add up."""
    with assistant("vad.endpoint=fixed") as running:
        turns = [turn["timings_ms"] for turn in hear(running)]
        silence_limit_s = load_resolved(running.addresses.config).vad.endpointing.silence_limit_s
    silence_ms = math.ceil(silence_limit_s * 1000 / FRAME_MS) * FRAME_MS
    waits = [timings for timings in turns if TOTAL_TO_FIRST_TOKEN in timings]
    if not waits:
        raise BenchError(f"{len(turns)} turns came back, and none of them was answered")
    overheads_ms = [overhead_ms(timings) for timings in waits]
    decided_ms = [timings["endpoint_wait"] - silence_ms for timings in waits if timings["endpoint_wait"] >= silence_ms]
    return [
        *(
            at_most(
                goal_ms,
                name=f"pipeline p{percent}",
                value=percentile(overheads_ms, percent),
                unit="ms",
                meaning=f"end of speech to first word in {len(waits)} turns, less the silence waited out and the work of the two models"
                if percent == 50
                else "the slowest of these turns",
                parts={part: percentile([timings.get(part, 0.0) for timings in waits], percent) for part in OURS},
                parts_of="part of the wait",
            )
            for percent, goal_ms in GOALS_MS.items()
        ),
        Result(
            name="hearing p50",
            value=percentile(decided_ms, 50),
            unit="ms",
            meaning=f"from the capture of the frame that completes {silence_ms} ms of silence until the end of speech is decided",
        ),
        at_most(
            SUM_GOAL_MS,
            name="parts less the whole",
            value=max(sum_error_ms(timings) for timings in turns),
            unit="ms",
            meaning=f"how far the parts of {len(turns)} turns are from adding up to the whole, and to the wait for the first word",
        ),
    ]


def overhead_ms(timings_ms: Mapping[str, float]) -> float:
    """What is left of the wait for the first word when nothing of it is waited for on purpose or spent by a model."""
    return timings_ms[TOTAL_TO_FIRST_TOKEN] - sum(timings_ms.get(part, 0.0) for part in NOT_OURS)


def sum_error_ms(timings_ms: Mapping[str, float]) -> float:
    """How far the parts of one turn are from the whole, or its first parts from the wait for the first word, whichever is more."""
    errors = [abs(sum(timings_ms.get(part, 0.0) for part in PARTS) - timings_ms[TOTAL])]
    if TOTAL_TO_FIRST_TOKEN in timings_ms:
        errors.append(abs(sum(timings_ms.get(part, 0.0) for part in WAITED) - timings_ms[TOTAL_TO_FIRST_TOKEN]))
    return round(max(errors), 6)


def hear(running: Assistant) -> list[dict[str, Any]]:
    """Let the assistant hear the files, and return its turns."""
    files = (str(SPEECH / name) for name in FILES)
    argv = command("supervisor.cli", "hear", "--json", "--pace", "real", *files)
    heard = subprocess.run(argv, env={**environ(), **running.addresses.environ}, stdout=subprocess.PIPE, text=True, check=False)
    turns = [json.loads(line) for line in heard.stdout.splitlines()]
    if heard.returncode != 0:
        raise BenchError(f"`supervisor hear` ended with status {heard.returncode} after {len(turns)} turns")
    return turns
