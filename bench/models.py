"""How long Whisper takes for an utterance, beside the length of the utterance: the model of the rehearsal kit, and any that is given."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.instance import Pipe, answer, child
from bench.result import Result, at_most, percentile
from bench.sound import seconds, utterances
from bus.errors import EarshotError
from bus.settings import WhisperSettings
from supervisor.modules import ROOT
from supervisor.placement import plan
from supervisor.topology import this_machine

REHEARSAL = str(ROOT / "assets" / "rehearsal-whisper")
ROUNDS = 3
GOAL = 1.0
LOAD_S = 1800.0
"""A model that is not on this machine is fetched first."""


def measure(models: Sequence[str]) -> Iterator[Result]:
    """The real-time factor of the rehearsal model and of `models`, names or directories. Raise EarshotError for one that cannot be had."""
    yield from map(_factor, dict.fromkeys((REHEARSAL, *models)))


def _factor(model: str) -> Result:
    spoken = utterances()
    cpus = plan(this_machine(), workers=1).whisper[0]
    with child(_decode, model, cpus, spoken) as (pipe, _):
        load_s = outcome(answer(pipe, f"the model {model}", LOAD_S))
        times_s: list[float] = answer(pipe, f"{model} to decode", LOAD_S)
        pipe.close()
    factors = [took_s / seconds(pcm) for took_s, pcm in zip(times_s, spoken * ROUNDS, strict=True)]
    return at_most(
        GOAL,
        name=f"RTF {Path(model).name}",
        value=percentile(factors, 50),
        unit="×",
        meaning=f"real-time factor: time to decode by length of utterance, median of {len(factors)}, "
        f"{percentile(factors, 100):.2f} at most, {len(cpus)} threads; loaded in {load_s:.1f} s",
    )


def outcome(found: float | str) -> float:
    """What a child measured; raise EarshotError with the line that it sent instead."""
    if isinstance(found, str):
        raise EarshotError(found)
    return found


def _decode(pipe: Pipe, model: str, cpus: tuple[int, ...], spoken: list[bytes]) -> None:
    begin_s = time.monotonic()
    os.sched_setaffinity(0, cpus)  # before the model library makes its threads
    from actors.whisper.engine import Engine, find_model

    settings = WhisperSettings(model=model)
    try:
        engine = Engine(find_model(model, download=True), settings, len(cpus))
    except EarshotError as error:
        pipe.send(str(error))
        return
    pipe.send(time.monotonic() - begin_s)
    times_s: list[float] = []
    for pcm in spoken * ROUNDS:
        begin_s = time.monotonic()
        engine.transcribe(pcm)
        times_s.append(time.monotonic() - begin_s)
    pipe.send(times_s)
