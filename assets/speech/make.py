"""Make the sample speech again: `PYTHONPATH=assets/training python assets/speech/make.py` (espeak-ng and flite needed).

Writes conversation.wav and conversation.json, and one file per sentence with transcripts.json, beside this file. The
noise is seeded, so the same versions of the synthesizers give the same files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from clips import at_snr, colored_noise
from voices import SAMPLE_RATE, Samples, Synthesizers, Voice

HERE = Path(__file__).parent
PEAK = 0.5
SPEECH_FLOOR = 0.03  # of the peak: below it a window of 10 ms is not speech
LEAD_S, TAIL_S = 1.0, 2.5

SLT = Voice("flite", "slt", 0.9)
RMS = Voice("flite", "rms", 0.9)
AWB = Voice("flite", "awb", 0.9)
KAL = Voice("flite", "kal16", 0.9)
ESPEAK = Voice("espeak", "en-us+f2", 0.9)


@dataclass(frozen=True)
class Utterance:
    """What one speaker says; " ... " in the text is a pause of `pause_s` in mid-sentence; `gap_s` of quiet follow."""

    voice: Voice
    text: str
    expected: str = "turn"
    gap_s: float = 1.8
    pause_s: float = 0.0


CONVERSATION = (
    Utterance(SLT, "hello my name is anna", gap_s=2.2),
    Utterance(RMS, "tell me a joke please", gap_s=2.2),
    Utterance(AWB, "what is seven plus five", gap_s=2.0),
    Utterance(KAL, "yes", expected="too-short", gap_s=1.8),
    Utterance(AWB, "please turn on ... the kitchen light", gap_s=2.2, pause_s=0.45),
    Utterance(KAL, "what is the weather in london today", gap_s=2.2),
    Utterance(ESPEAK, "remind me to call peter tomorrow", gap_s=2.2),
    Utterance(SLT, "what is my name", gap_s=2.2),
    Utterance(RMS, "what day is it today", gap_s=2.2),
    Utterance(AWB, "when is my package coming", gap_s=2.2),
    Utterance(SLT, "thank you and goodbye"),
)

SENTENCES: dict[str, tuple[Utterance, float]] = {  # file name: what is said, and the noise in dB below the speech
    "joke-slt.wav": (Utterance(SLT, "tell me a joke please"), 40.0),
    "sum-rms.wav": (Utterance(RMS, "what is two plus three"), 40.0),
    "light-awb.wav": (Utterance(AWB, "turn off the bedroom light"), 40.0),
    "password-kal16.wav": (Utterance(KAL, "i forgot my password"), 40.0),
    "package-espeak.flac": (Utterance(ESPEAK, "where is my package"), 40.0),
    "timer-noisy.wav": (Utterance(SLT, "set a timer for ten minutes"), 18.0),
    "pauses.wav": (Utterance(SLT, "i want to cancel ... my subscription", pause_s=0.9), 35.0),
    "yes-too-short.wav": (Utterance(KAL, "yes", expected="too-short"), 40.0),
    "computer-slt.wav": (Utterance(SLT, "hello computer", expected="command"), 40.0),
    "again-rms.wav": (Utterance(RMS, "say that again", expected="command"), 40.0),
    "stop-kal16.wav": (Utterance(KAL, "stop please", expected="command"), 40.0),
}


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def say(engines: Synthesizers, utterance: Utterance) -> Samples:
    """The bare speech, its peak at PEAK."""
    parts = [engines.speak(part, utterance.voice) for part in utterance.text.split(" ... ")]
    samples = parts[0]
    for part in parts[1:]:
        samples = np.concatenate([samples, silence(utterance.pause_s), part])
    return samples * np.float32(PEAK / np.abs(samples).max())


def speech_bounds_s(samples: Samples) -> tuple[float, float, float]:
    """(start, end, amount) of what is above the floor, by 10 ms windows, in seconds from the first sample."""
    window = SAMPLE_RATE // 100
    levels = np.abs(samples[: samples.size // window * window]).reshape(-1, window).max(axis=1)
    speech = np.flatnonzero(levels > SPEECH_FLOOR * np.abs(samples).max())
    return float(speech[0]) / 100, float(speech[-1] + 1) / 100, speech.size / 100


def describe(utterance: Utterance, speech: Samples, begins_s: float) -> dict[str, object]:
    """The transcript's entry for speech that begins at `begins_s` of its file."""
    start_s, end_s, voiced_s = speech_bounds_s(speech)
    return {
        "start_s": round(begins_s + start_s, 2),
        "end_s": round(begins_s + end_s, 2),
        "speech_s": round(voiced_s, 2),
        "pause_s": utterance.pause_s,
        "voice": utterance.voice.label,
        "text": utterance.text.replace(" ... ", " "),
        "expected": utterance.expected,
    }


def make_conversation(engines: Synthesizers, rng: np.random.Generator) -> None:
    """All utterances at real pace over one light background noise."""
    parts = [silence(LEAD_S)]
    entries = []
    for utterance in CONVERSATION:
        speech = say(engines, utterance)
        entries.append(describe(utterance, speech, sum(part.size for part in parts) / SAMPLE_RATE))
        parts += [speech, silence(utterance.gap_s)]
    samples = np.concatenate([*parts, silence(TAIL_S - CONVERSATION[-1].gap_s)])
    write("conversation.wav", at_snr(samples, colored_noise(samples.size, rng, 1.0), 34.0))
    save_json("conversation.json", {"file": "conversation.wav", "sample_rate_hz": SAMPLE_RATE, "utterances": entries})


def make_sentences(engines: Synthesizers, rng: np.random.Generator) -> None:
    """One file per sentence with half a second of quiet before it and a second after."""
    entries = []
    for name, (utterance, noise_db) in SENTENCES.items():
        speech = say(engines, utterance)
        samples = np.concatenate([silence(0.5), speech, silence(1.0)])
        write(name, at_snr(samples, colored_noise(samples.size, rng, 1.0), noise_db))
        entries.append({"file": name, "noise_db": noise_db, **describe(utterance, speech, 0.5)})
    save_json("transcripts.json", {"sample_rate_hz": SAMPLE_RATE, "files": entries})


def write(name: str, samples: Samples) -> None:
    soundfile.write(HERE / name, np.clip(samples, -1, 1), SAMPLE_RATE, subtype="PCM_16")


def save_json(name: str, content: dict[str, object]) -> None:
    (HERE / name).write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    engines = Synthesizers()
    rng = np.random.default_rng(7)
    make_conversation(engines, rng)
    make_sentences(engines, rng)


if __name__ == "__main__":
    main()
