"""How each word sounds, as espeak-ng says it: the units of the CTC head.

Phonemes and not words or letters, because every clip shows the encoder a dozen of them: with a class per word the
alignment of sound and text took ten times as many steps to appear. `python pronunciations.py` writes
pronunciations.json again after a change of the vocabulary.
"""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path

import corpus

FILE = Path(__file__).with_name("pronunciations.json")


@cache
def load() -> dict[str, list[str]]:
    """Word to phonemes, for the whole vocabulary."""
    words: dict[str, list[str]] = json.loads(FILE.read_text())
    return words


@cache
def inventory() -> list[str]:
    """All phonemes, sorted; their CTC class is their place here plus one (0 is the blank)."""
    return sorted({phoneme for phonemes in load().values() for phoneme in phonemes})


def ask_espeak(word: str) -> list[str]:
    """The phonemes of one word in American English, without stress marks and variants ("@2" is "@"; "3:" stays a vowel)."""
    command = ["espeak-ng", "-q", "-x", "--sep=_", "-v", "en-us", word]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    bare = [re.sub(r"[',%=:;|1245-9#-]", "", phoneme) for phoneme in re.split(r"[_\s]+", answer)]
    return [phoneme for phoneme in bare if phoneme]


def main() -> None:
    FILE.write_text(json.dumps({word: ask_espeak(word) for word in corpus.vocabulary()}, indent=0) + "\n")


if __name__ == "__main__":
    main()
