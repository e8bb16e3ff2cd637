"""Measure a converted model as the assistant uses it: `python evaluate.py MODEL_DIR [--samples assets/speech]`.

Everything goes through `faster_whisper.WhisperModel` with int8 on the CPU. Prints one line per condition: word error
rate, and how many sentences were right word for word. The sentences are held out: training never used them.

`save.py` writes the clips of these conditions as files.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import corpus
import numpy as np
import soundfile
from clips import at_snr, colored_noise, no_speech
from faster_whisper import WhisperModel
from voices import ESPEAK_VARIANTS, FLITE_VOICES, HELD_OUT_VARIANTS, SAMPLE_RATE, Samples, Synthesizers, Voice

Hear = Callable[[Samples], str]
EDGE_S = 0.3


@dataclass
class Tally:
    """Errors over a set of sentences."""

    words: int = 0
    errors: int = 0
    sentences: int = 0
    right: int = 0

    def add(self, wanted: str, heard: str) -> None:
        missed = corpus.edit_distance(wanted.split(), heard.split())
        self.words += len(wanted.split())
        self.errors += missed
        self.sentences += 1
        self.right += missed == 0

    def __str__(self) -> str:
        return f"{100 * self.errors / max(self.words, 1):5.1f} %  {self.right}/{self.sentences}"


class Listener:
    """The model, with the options of one condition, keeping account of its time."""

    def __init__(self, model_dir: Path) -> None:
        self._model = WhisperModel(str(model_dir), device="cpu", compute_type="int8", cpu_threads=1)
        self.sound_s = self.spent_s = 0.0

    def hear(self, samples: Samples, **options: object) -> str:
        began_s = time.perf_counter()
        segments, _ = self._model.transcribe(samples, language="en", **{"beam_size": 5, **options})
        text = " ".join(segment.text for segment in segments)
        self.spent_s += time.perf_counter() - began_s
        self.sound_s += samples.size / SAMPLE_RATE
        return corpus.normalise(text)


@dataclass(frozen=True)
class Condition:
    """Who speaks, in which sound; sentences go to the voices in turn."""

    label: str
    voices: list[Voice]
    snr_db: float = 40.0
    pause_s: float = 0.0


class Studio:
    """Sentences spoken under a condition."""

    def __init__(self) -> None:
        self._engines = Synthesizers()
        self._rng = np.random.default_rng(5)

    def clip(self, text: str, index: int, condition: Condition) -> Samples:
        voice, pause_s = condition.voices[index % len(condition.voices)], condition.pause_s
        words = text.split()
        parts = [text] if pause_s == 0 else [" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])]
        speech = self._engines.speak(parts[0], voice)
        for part in parts[1:]:
            pause = np.zeros(int(pause_s * SAMPLE_RATE), np.float32)
            speech = np.concatenate([speech, pause, self._engines.speak(part, voice)])
        edge = np.zeros(int(EDGE_S * SAMPLE_RATE), np.float32)
        speech = np.concatenate([edge, speech * np.float32(0.5 / np.abs(speech).max()), edge])
        return np.clip(at_snr(speech, colored_noise(speech.size, self._rng, 0.0), condition.snr_db), -1, 1).astype(np.float32)


class Bench:
    """Held-out sentences, heard by the model."""

    def __init__(self, listener: Listener, sentences: list[str], show: bool) -> None:
        self._listener = listener
        self._sentences = sentences
        self._show = show
        self._studio = Studio()

    def run(self, condition: Condition, **options: object) -> Tally:
        tally = Tally()
        for index, text in enumerate(self._sentences):
            heard = self._listener.hear(self._studio.clip(text, index, condition), **options)
            tally.add(text, heard)
            if self._show and heard != text:
                print(f"    {condition.voices[index % len(condition.voices)].label}: {text!r} heard as {heard!r}")
        print(f"{condition.label:55s} {tally}", flush=True)
        return tally


def invented_texts(listener: Listener, count: int) -> list[str]:
    """What the model writes for clips of noise, hum, clicks and silence; empty strings are right."""
    rng = np.random.default_rng(11)
    return [listener.hear(no_speech(rng)) for _ in range(count)]


def hear_samples(listener: Listener, folder: Path) -> Tally:
    """Every utterance of the sample speech, cut out with a little of its silence."""
    tally = Tally()
    conversation = json.loads((folder / "conversation.json").read_text())
    entries = [{"file": conversation["file"], **entry} for entry in conversation["utterances"]]
    entries += json.loads((folder / "transcripts.json").read_text())["files"]
    for entry in entries:
        samples, _ = soundfile.read(folder / entry["file"], dtype="float32")
        first, last = (int((entry["start_s"] - EDGE_S) * SAMPLE_RATE), int((entry["end_s"] + EDGE_S) * SAMPLE_RATE))
        heard = listener.hear(samples[max(first, 0) : last])
        tally.add(entry["text"], heard)
        if heard != entry["text"]:
            print(f"    {entry['file']} at {entry['start_s']} s: {entry['text']!r} heard as {heard!r}")
    return tally


def choose_sentences(count: int, words_file: Path | None) -> list[str]:
    """Held-out sentences; with a word list, only those that the list covers."""
    known = set(words_file.read_text().split()) if words_file else set(corpus.vocabulary())
    return [text for text in corpus.held_out_sentences(1500, seed=21) if known.issuperset(text.split())][:count]


def some_variants() -> list[Voice]:
    """Twelve voices of espeak-ng that training used."""
    return [Voice("espeak", f"en-us+{name}" if name else "en-us") for name in random.Random(3).sample(ESPEAK_VARIANTS, 12)]


def eight_voices() -> list[Voice]:
    return [Voice("flite", name) for name in FLITE_VOICES] + some_variants()[:4]


def conditions() -> list[Condition]:
    """Of the model card, as far as they are a matter of the sound."""
    return [
        *(Condition(f"flite {name}", [Voice("flite", name)]) for name in FLITE_VOICES),
        Condition("espeak-ng, 12 variants of training", some_variants()),
        *(Condition(f"espeak-ng {name} (not heard in training)", [Voice("espeak", f"en-us+{name}")]) for name in HELD_OUT_VARIANTS),
        Condition("eight voices, white noise at 20 dB", eight_voices(), snr_db=20.0),
        Condition("eight voices, white noise at 10 dB", eight_voices(), snr_db=10.0),
        Condition("eight voices, a pause of 0.6 s in the middle", eight_voices(), pause_s=0.6),
    ]


def measure(bench: Bench) -> None:
    """The table of the model card."""
    for condition in conditions():
        bench.run(condition)
    slt = [Voice("flite", "slt")]
    bench.run(Condition("flite slt, greedy", slt), beam_size=1)
    bench.run(Condition("flite slt, without timestamps", slt), without_timestamps=True)
    bench.run(Condition("flite slt, with an initial prompt", slt), initial_prompt="Hello my name is Anna.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--samples", type=Path, help="folder with conversation.json and transcripts.json")
    parser.add_argument("--sentences", type=int, default=40, help="held-out sentences per condition")
    parser.add_argument("--words", type=Path, help="use only sentences whose words are in this list")
    parser.add_argument("--show", action="store_true", help="print what was heard wrong")
    options = parser.parse_args()
    listener = Listener(options.model)
    if options.samples:
        print(f"{'sample speech':55s} {hear_samples(listener, options.samples)}", flush=True)
    measure(Bench(listener, choose_sentences(options.sentences, options.words), options.show))
    print(f"{'real-time factor, one thread':55s} {listener.spent_s / listener.sound_s:.3f}")
    invented = invented_texts(listener, 60)
    print(f"{'clips of no speech with text':55s} {sum(map(bool, invented))}/{len(invented)}")


if __name__ == "__main__":
    main()
