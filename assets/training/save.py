"""Write the clips that `evaluate.py` makes as files: `python save.py DIR`, for `python -m bench --only window --speech DIR/*`.

One folder for each condition, with WAV files and a transcripts.json; beside the conditions of the model card three more:
single short words, two sentences in a row, and clips in which nobody speaks.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from clips import no_speech
from evaluate import Condition, Studio, choose_sentences, conditions, eight_voices
from voices import SAMPLE_RATE, Samples

SHORT = ("yes", "no", "stop", "okay", "cancel", "hello", "help", "next", "thanks", "right")
LONG_PAUSE_S, LONG_TAIL_S = 1.2, 2.5
NO_SPEECH_CLIPS = 60


def save(folder: Path, clips: Iterable[tuple[Samples, str]]) -> None:
    """Write clips and their texts; an empty text means that nothing is said."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, (samples, text) in enumerate(clips):
        name = f"{number:03d}.wav"
        soundfile.write(folder / name, samples, SAMPLE_RATE, subtype="PCM_16")
        files.append({"file": name, "text": text})
    (folder / "transcripts.json").write_text(json.dumps({"sample_rate_hz": SAMPLE_RATE, "files": files}, indent=1) + "\n")


def spoken(studio: Studio, sentences: Iterable[str], condition: Condition) -> Iterator[tuple[Samples, str]]:
    return ((studio.clip(text, index, condition), text) for index, text in enumerate(sentences))


def two_sentences(studio: Studio, sentences: list[str], condition: Condition) -> Iterator[tuple[Samples, str]]:
    """Two sentences of one voice, a pause between and silence after: 6 to 12 s, as long as training ever had them."""
    for index, (first, second) in enumerate(zip(sentences[::2], sentences[1::2], strict=True)):
        parts = [studio.clip(first, index, condition), quiet(LONG_PAUSE_S), studio.clip(second, index, condition), quiet(LONG_TAIL_S)]
        yield np.concatenate(parts), f"{first} {second}"


def quiet(length_s: float) -> Samples:
    return np.zeros(int(length_s * SAMPLE_RATE), np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sentences", type=int, default=40, help="held-out sentences per condition")
    options = parser.parse_args()
    studio = Studio()
    sentences = choose_sentences(options.sentences, None)
    for condition in conditions():
        save(options.folder / re.sub(r"[^a-z0-9]+", "-", condition.label.lower()).strip("-"), spoken(studio, sentences, condition))
    words = [word for word in SHORT for _ in eight_voices()]
    save(options.folder / "short-words", spoken(studio, words, Condition("short words", eight_voices())))
    save(options.folder / "short-words-10-db", spoken(studio, words, Condition("short words", eight_voices(), snr_db=10.0)))
    pairs = choose_sentences(2 * options.sentences, None)
    save(options.folder / "two-sentences", two_sentences(studio, pairs, Condition("two sentences", eight_voices())))
    rng = np.random.default_rng(11)
    save(options.folder / "no-speech", ((no_speech(rng), "") for _ in range(NO_SPEECH_CLIPS)))


if __name__ == "__main__":
    main()
