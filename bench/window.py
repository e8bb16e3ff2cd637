"""What Whisper costs, and what it mishears, in a window as long as the utterance (`whisper.window = "auto"`), beside the full 30 s.

Each utterance is heard both ways, one after the other. The sets are the sample speech of the rehearsal kit, as it is and with white
noise, clips in which nobody speaks, and any folders that are given. What is counted is what the model wrote, before the guards of the
actor have judged it.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import soundfile

from actors.whisper.guards import Segment
from bench.instance import Pipe, answer, child
from bench.models import LOAD_S, REHEARSAL, outcome
from bench.result import Result, against, percentile
from bench.sound import AFTER_S, BEFORE_S, CONVERSATION, SPEECH
from bus.errors import EarshotError
from bus.limits import SAMPLE_RATE_HZ
from bus.settings import WhisperSettings
from supervisor.placement import plan
from supervisor.topology import this_machine

NOISES_DB = (20.0, 10.0)
QUIET_CLIPS = 12
Window: TypeAlias = Literal["auto", "full"]
WINDOWS: tuple[Window, ...] = ("auto", "full")


class Clip(NamedTuple):
    """An utterance, mono int16 PCM at 16 kHz, and what is said in it: lower case, no punctuation; empty where nobody speaks."""

    pcm: bytes
    text: str


@dataclass
class Tally:
    """What one set of clips came to in one kind of window."""

    took_ms: list[float] = field(default_factory=list)
    words: int = 0
    errors: int = 0
    again: int = 0
    """Clips for which the short window was not enough."""


Tallies: TypeAlias = dict[str, dict[Window, Tally]]


def measure(models: Sequence[str], folders: Sequence[Path] = ()) -> Iterator[Result]:
    """Time and word errors of the rehearsal model and of `models`. Raise EarshotError for one that cannot be had."""
    sets = {**kit(), **{folder.name: saved(folder) for folder in folders}}
    for model in dict.fromkeys((REHEARSAL, *models)):
        cpus = plan(this_machine(), workers=1).whisper[0]
        with child(_hear, model, cpus, sets) as (pipe, _):
            outcome(answer(pipe, f"the model {model}", LOAD_S))
            tallies: Tallies = answer(pipe, f"{model} to hear it all", LOAD_S)
            pipe.close()
        yield from results(tallies, "" if model == REHEARSAL else f", {Path(model).name}")


def kit() -> dict[str, list[Clip]]:
    """The sets of the rehearsal kit."""
    conversation = json.loads(CONVERSATION.with_suffix(".json").read_text())
    entries = [{"file": conversation["file"], **entry} for entry in conversation["utterances"]]
    entries += json.loads((SPEECH / "transcripts.json").read_text())["files"]
    spoken = []
    for entry in entries:
        samples, _ = soundfile.read(SPEECH / entry["file"], dtype="int16")
        first, last = entry["start_s"] - BEFORE_S, entry["end_s"] + AFTER_S
        spoken.append((samples[max(0, round(first * SAMPLE_RATE_HZ)) : round(last * SAMPLE_RATE_HZ)], entry["text"]))
    sentences = []
    for described in json.loads((SPEECH / "latency.json").read_text())["files"]:
        samples, _ = soundfile.read(SPEECH / described["file"], dtype="int16")
        for said in described["utterances"]:
            first, last = said["begin_sample"] - round(BEFORE_S * SAMPLE_RATE_HZ), said["end_sample"] + round(AFTER_S * SAMPLE_RATE_HZ)
            sentences.append(Clip(samples[max(0, first) : last].tobytes(), said["text"]))
    noise = np.random.default_rng(5)
    return {
        "sentences, half with pauses": sentences,
        "sample speech": [Clip(samples.tobytes(), text) for samples, text in spoken],
        **{f"{snr_db:g} dB above noise": [Clip(noisy(samples, snr_db, noise), text) for samples, text in spoken] for snr_db in NOISES_DB},
        "nobody speaks": quiet(random.Random(5), noise),
    }


def noisy(samples: np.ndarray, snr_db: float, noise: np.random.Generator) -> bytes:
    """int16 samples with white noise, so far below the parts that are speech."""
    loud = samples[np.abs(samples) > 0.02 * np.abs(samples).max()].astype(float)
    level = np.sqrt((loud**2).mean()) * 10 ** (-snr_db / 20)
    mixed = np.clip(samples + level * noise.standard_normal(len(samples)), -32768, 32767)
    return bytes(mixed.astype(np.int16).tobytes())


def quiet(dice: random.Random, noise: np.random.Generator) -> list[Clip]:
    """White noise of any loudness, half of it over a hum, 1 to 4 s."""
    found = []
    for number in range(QUIET_CLIPS):
        times_s = np.arange(round(dice.uniform(1, 4) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        sound = noise.standard_normal(len(times_s)) + number % 2 * 5 * np.sin(2 * np.pi * dice.uniform(50, 500) * times_s)
        found.append(Clip((sound * 10 ** dice.uniform(0, 3.5)).clip(-32768, 32767).astype(np.int16).tobytes(), ""))
    return found


def saved(folder: Path) -> list[Clip]:
    """The clips of a folder: `transcripts.json` names files of 16 kHz, mono, and their texts. Raise EarshotError with what is amiss."""
    try:
        described = json.loads((folder / "transcripts.json").read_text())["files"]
        found = [(soundfile.read(folder / item["file"], dtype="int16"), str(item["text"])) for item in described]
    except (OSError, KeyError, TypeError, ValueError, soundfile.LibsndfileError) as error:
        raise EarshotError(f"no clips in {folder}: {error}; it needs a transcripts.json as assets/speech has one") from None
    if any(rate != SAMPLE_RATE_HZ or samples.ndim > 1 for (samples, rate), _ in found):
        raise EarshotError(f"the clips in {folder} must be mono, of {SAMPLE_RATE_HZ} Hz")
    return [Clip(samples.tobytes(), text) for (samples, _), text in found]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def word_errors(wanted: list[str], heard: list[str]) -> int:
    """Fewest words to exchange, to leave out and to put in that make the one of the other."""
    row = list(range(len(heard) + 1))
    for index, word in enumerate(wanted, 1):
        diagonal, row[0] = row[0], index
        for column, other in enumerate(heard, 1):
            diagonal, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, diagonal + (word != other))
    return row[-1]


def results(tallies: Tallies, label: str) -> Iterator[Result]:
    """The figures of one model, each set a part of them."""
    named = {f"{name}, {tally['full'].words} words": tally for name, tally in tallies.items()}
    kind = f"set{label}"
    took_ms = {window: [ms for tally in named.values() for ms in tally[window].took_ms] for window in WINDOWS}
    medians_ms = {window: {name: percentile(tally[window].took_ms, 50) for name, tally in named.items()} for window in WINDOWS}
    errors = {window: {name: tally[window].errors for name, tally in named.items()} for window in WINDOWS}
    again = {name: tally["auto"].again for name, tally in named.items()}
    full_ms, full_errors = percentile(took_ms["full"], 50), sum(errors["full"].values())
    yield against(
        full_ms,
        name=f"decode, auto{label}",
        value=percentile(took_ms["auto"], 50),
        unit="ms",
        meaning=f'median of {len(took_ms["auto"])} utterances with whisper.window = "auto", beside "full"',
        parts=medians_ms["auto"],
        parts_of=kind,
    )
    yield Result(name=f"decode, full{label}", value=full_ms, unit="ms", meaning="", parts=medians_ms["full"], parts_of=kind)
    yield Result(
        name=f"errors, auto{label}",
        value=sum(errors["auto"].values()),
        unit="words",
        meaning=f"of {sum(tally['full'].words for tally in named.values())} words; to be met in each set by itself",
        baseline=full_errors,
        goal="no more in any set",
        ok=all(errors["auto"][name] <= errors["full"][name] for name in named),
        parts=errors["auto"],
        parts_of=kind,
    )
    yield Result(name=f"errors, full{label}", value=full_errors, unit="words", meaning="", parts=errors["full"], parts_of=kind)
    yield Result(
        name=f"both ways{label}",
        value=sum(again.values()),
        unit="clips",
        meaning="heard again in the full window, because the short one left a doubt",
        parts=again,
        parts_of=kind,
    )


def _hear(pipe: Pipe, model: str, cpus: tuple[int, ...], sets: dict[str, list[Clip]]) -> None:
    begin_s = time.monotonic()
    os.sched_setaffinity(0, cpus)  # before the model library makes its threads
    from actors.whisper.engine import Engine, find_model

    class Counted(Engine):
        decodings = 0

        def decode(self, samples: np.ndarray, frames: int, temperatures: tuple[float, ...], **more: Any) -> list[Segment]:
            self.decodings += 1
            return super().decode(samples, frames, temperatures, **more)

    try:
        path = find_model(model, download=True)
        engines = {window: Counted(path, WhisperSettings(model=model, window=window), len(cpus)) for window in WINDOWS}
    except EarshotError as error:
        pipe.send(str(error))
        return
    pipe.send(time.monotonic() - begin_s)
    tallies: Tallies = {name: {window: Tally() for window in WINDOWS} for name in sets}
    for name, clips in sets.items():
        for number, clip in enumerate(clips):
            for window in WINDOWS if number % 2 else WINDOWS[::-1]:  # what the one leaves in the caches helps each as often
                engine, tally = engines[window], tallies[name][window]
                engine.decodings = 0
                begin_s = time.monotonic()
                heard = words(" ".join(segment.text for segment in engine.transcribe(clip.pcm)))
                tally.took_ms.append(1000 * (time.monotonic() - begin_s))
                tally.again += engine.decodings > 1
                tally.words += len(words(clip.text))
                tally.errors += word_errors(words(clip.text), heard)
    pipe.send(tallies)
