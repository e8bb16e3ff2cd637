"""Make the latency set again: `PYTHONPATH=assets/training python assets/speech/make_latency.py` (espeak-ng and flite needed).

Writes latency-plain.flac and latency-pauses.flac, and latency.json, beside this file: what is said, and to the sample where it begins,
where it ends and where the speaker pauses. These places are those of the synthesizer's own speech before any noise is added; no voice
detector has had a say in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import soundfile
from clips import at_snr, colored_noise
from make import AWB, ESPEAK, HERE, KAL, LEAD_S, PEAK, RMS, SLT, SPEECH_FLOOR, silence
from voices import SAMPLE_RATE, Samples, Synthesizers, Voice

GAP_S = 2.0
"""From the end of a sentence to the beginning of the next: who speaks hears the answer out."""
NOISE_DB = 44.0
"""Pink noise over everything, below the speech."""
STEP = 8
"""Samples are multiples of it, which lies 20 dB below the noise and halves the files: FLAC leaves out bits that are always 0."""
ESPEAK_M = Voice("espeak", "en-us+m3", 0.9)
VOICES = (SLT, RMS, AWB, KAL, ESPEAK, ESPEAK_M)

PLAIN = (
    "tell me a joke please",
    "what is seven plus five",
    "turn off the bedroom light",
    "what is the weather in london today",
    "remind me to call peter tomorrow",
    "set a timer for ten minutes",
    "where is my package",
    "i forgot my password",
    "what time is it in tokyo",
    "please play some music",
    "add milk and bread to the shopping list",
    "wake me up at seven",
    "hello my name is anna",
    "is the kitchen light on",
    "how do i get to the station",
    "book a hotel in berlin tomorrow",
    "what is on my list",
    "i want to cancel my subscription",
    "open the garage door",
    "tell me the news please",
    "how many days in february",
    "send a message to john",
    "make the bedroom light blue",
    "when is the next train to paris",
)
PAUSES: tuple[tuple[str, float, Voice], ...] = (  # " ... " is a pause of so many seconds
    ("my order number is ... nine ... forty ... one", 0.5, SLT),
    ("remind me to ... call sarah tomorrow", 0.7, RMS),
    ("please turn on ... the kitchen light", 0.45, AWB),
    ("add milk and ... bread to the shopping list", 0.8, KAL),
    ("i want to cancel ... my subscription", 0.9, ESPEAK),
    ("set a timer for ... ten minutes", 0.6, ESPEAK_M),
    ("what is the weather in ... paris", 0.5, SLT),
    ("send an email to ... emma", 0.6, RMS),
    ("could you please ... tell me a joke", 0.7, AWB),
    ("how do i get to the ... station", 0.5, KAL),
    ("book a flight to ... rome", 0.8, ESPEAK),
    ("what is twelve plus ... thirty", 0.6, ESPEAK_M),
    ("my account number is ... ninety ... nine ... six", 0.55, KAL),
    ("i would like a ticket to ... madrid", 0.65, RMS),
    ("turn off the ... bathroom light", 0.35, AWB),
    ("i have a meeting with ... david on monday", 0.7, KAL),
    ("what is the temperature in the ... garage", 0.5, ESPEAK),
    ("my account number is ... ten ... five ... seven", 0.4, ESPEAK_M),
    ("what time is the ... meeting", 0.4, SLT),
    ("wake me up at ... six", 0.9, ESPEAK),
    ("please remind me ... in twenty minutes", 0.6, AWB),
    ("find a restaurant in ... rome", 0.3, KAL),
    ("can you add ... two and ... three", 0.75, ESPEAK),
    ("show me the way to ... london", 0.85, ESPEAK_M),
)


@dataclass(frozen=True)
class Spoken:
    """One sentence. Places count in samples from its first."""

    text: str
    voice: Voice
    samples: Samples
    begin: int
    end: int
    pauses: tuple[tuple[int, int], ...]


def bounds(speech: Samples, peak: float) -> tuple[int, int]:
    """The first sample of bare speech that is louder than the floor, and the one after the last."""
    loud = np.flatnonzero(np.abs(speech) > SPEECH_FLOOR * peak)
    return int(loud[0]), int(loud[-1]) + 1


def speak(engines: Synthesizers, text: str, voice: Voice, pause_s: float) -> Spoken:
    """Each part on its own, so far from the next that the silence between them lasts exactly as long as it is to."""
    parts = [engines.speak(part, voice) for part in text.split(" ... ")]
    peak = max(float(np.abs(part).max()) for part in parts)
    samples, pauses = parts[0], []
    for part in parts[1:]:
        quiet = bounds(samples, peak)[1]
        lead = bounds(part, peak)[0]
        gap = round(pause_s * SAMPLE_RATE)
        samples = np.concatenate([samples[: quiet + gap - lead], np.zeros(max(0, quiet + gap - lead - samples.size), np.float32), part])
        pauses.append((quiet, quiet + gap))
    begin, end = bounds(samples, peak)
    return Spoken(text.replace(" ... ", " "), voice, samples * np.float32(PEAK / peak), begin, end, tuple(pauses))


def one_after_the_other(sentences: list[Spoken]) -> tuple[Samples, list[dict[str, object]]]:
    """All in one stream, and where each of them is."""
    parts, entries, reached = [silence(LEAD_S)], [], round(LEAD_S * SAMPLE_RATE)
    for spoken in sentences:
        entries.append(
            {
                "text": spoken.text,
                "voice": spoken.voice.label,
                "begin_sample": reached + spoken.begin,
                "end_sample": reached + spoken.end,
                "pauses": [{"begin_sample": reached + begin, "end_sample": reached + end} for begin, end in spoken.pauses],
            }
        )
        parts += [spoken.samples, silence(GAP_S)]
        reached += spoken.samples.size + parts[-1].size
    return np.concatenate(parts), entries


def sets(engines: Synthesizers) -> Iterator[tuple[str, list[Spoken]]]:
    """The two kinds of sentences, with the names of their files."""
    yield "latency-plain.flac", [speak(engines, text, voice, 0.0) for text, voice in zip(PLAIN, cycle(VOICES), strict=False)]
    yield "latency-pauses.flac", [speak(engines, text, voice, pause_s) for text, pause_s, voice in PAUSES]


def main() -> None:
    rng = np.random.default_rng(11)
    files = []
    for name, sentences in sets(Synthesizers()):
        samples, entries = one_after_the_other(sentences)
        noisy = at_snr(samples, colored_noise(samples.size, rng, 1.0), NOISE_DB)
        coarse = (np.round(np.clip(noisy, -1, 1) * (32767 // STEP)) * STEP).astype(np.int16)
        soundfile.write(HERE / name, coarse, SAMPLE_RATE, subtype="PCM_16", compression_level=1.0)
        files.append({"file": name, "noise_db": NOISE_DB, "utterances": entries})
    (HERE / "latency.json").write_text(json.dumps({"sample_rate_hz": SAMPLE_RATE, "files": files}, indent=1) + "\n")


if __name__ == "__main__":
    main()
