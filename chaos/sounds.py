"""Sound streams with known contents: sayings cut out of assets/speech, joined by silence."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from bus.limits import SAMPLE_RATE_HZ
from supervisor.modules import ROOT

SPEECH = ROOT / "assets" / "speech"
MARGIN_S = 0.2
"""Kept on both sides of a saying: the edges in the index are those of the voice."""
SILENCE_S = 1.5
"""Between two sayings, beside their margins: more than the silence that ends a turn whatever was understood (preset `command`: 1.2 s)."""
LONGEST_S = 2.0
"""Longer sayings only cost time."""


@dataclass(frozen=True, slots=True)
class Saying:
    """A stretch of speech in a file."""

    file: str
    start_s: float
    end_s: float


def sayings(expected: str = "turn") -> tuple[Saying, ...]:
    """The short sayings of the samples, in a fixed order. `expected`: `turn`, or `too-short` for single words."""
    conversation = json.loads((SPEECH / "conversation.json").read_text())
    single = json.loads((SPEECH / "transcripts.json").read_text())
    every = [{"file": conversation["file"], **found} for found in conversation["utterances"]] + single["files"]
    return tuple(
        Saying(found["file"], found["start_s"], found["end_s"])
        for found in every
        if found["expected"] == expected and found["end_s"] - found["start_s"] <= LONGEST_S
    )


def scripts(seed: int, count: int, length: int, choices: Sequence[Saying]) -> list[list[Saying]]:
    """Draw `count` sequences of `length` sayings. Pure."""
    chance = random.Random(f"scripts {seed}")
    return [[chance.choice(choices) for _ in range(length)] for _ in range(count)]


def write(path: Path, script: Sequence[Saying]) -> None:
    """Write the sayings of a script as one WAV file, 16 kHz mono int16."""
    silence = np.zeros(round(SILENCE_S * SAMPLE_RATE_HZ), np.int16)
    pieces = [silence]
    for saying in script:
        pieces += [_cut(saying), silence]
    soundfile.write(path, np.concatenate(pieces), SAMPLE_RATE_HZ, subtype="PCM_16")


def _cut(saying: Saying) -> npt.NDArray[np.int16]:
    sound = _read(saying.file)
    begin, end = (round(time_s * SAMPLE_RATE_HZ) for time_s in (saying.start_s - MARGIN_S, saying.end_s + MARGIN_S))
    return sound[max(0, begin) : end]


@cache
def _read(file: str) -> npt.NDArray[np.int16]:
    sound, rate = soundfile.read(SPEECH / file, dtype="int16")
    assert rate == SAMPLE_RATE_HZ, f"{file} has {rate} Hz"
    found: npt.NDArray[np.int16] = sound
    return found
