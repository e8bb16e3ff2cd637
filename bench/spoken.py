"""The latency set, and how well an assistant did with it. Pure but for reading the files.

What is said, and to the sample where it begins and ends, is known from how the sound was made; no voice detector has had a say in it.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from bench.sound import SPEECH
from bus.limits import SAMPLE_RATE_HZ

INDEX = SPEECH / "latency.json"
REACH_SAMPLES = SAMPLE_RATE_HZ // 2
"""An utterance may be heard to begin so long before its sentence does: what was kept from before the first speech."""
PLAIN, PAUSED = "plain", "with pauses"


@dataclass(frozen=True)
class Sentence:
    """What is said. Places count in samples of its file."""

    text: str
    begin: int
    end: int
    """One after its last sample of speech."""
    pauses: tuple[tuple[int, int], ...] = ()

    @property
    def kind(self) -> str:
        return PAUSED if self.pauses else PLAIN


@dataclass(frozen=True)
class SpokenFile:
    """Sentences one after the other."""

    path: Path
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True)
class Piece:
    """What an assistant took for one utterance."""

    begin: int
    """Where it begins, in samples of the file."""
    text: str
    """What was understood; empty when it was skipped."""
    told_ns: int | None
    """When the first word of the answer was told, monotonic; None when there was none."""
    decided_ns: int | None = None
    """When it was decided that this was its end, monotonic; None when that is not known."""


@dataclass(frozen=True)
class Outcome:
    """What came of one sentence."""

    sentence: Sentence
    end_ns: int
    """When its last sample of speech was heard, monotonic."""
    pieces: tuple[Piece, ...] = field(default=())

    @property
    def wait_s(self) -> float | None:
        """From the true end of speech to the first word of the answer to its last piece; None without one after the end."""
        told_ns = self.pieces[-1].told_ns if self.pieces else None
        return None if told_ns is None or told_ns < self.end_ns else (told_ns - self.end_ns) / 1e9

    @property
    def decided_s(self) -> float | None:
        """The part of the wait until the end was decided."""
        decided_ns = self.pieces[-1].decided_ns if self.wait_s is not None else None
        return None if decided_ns is None else max(0, decided_ns - self.end_ns) / 1e9

    @property
    def heard(self) -> str:
        """What was understood, its pieces apart."""
        return " | ".join(piece.text for piece in self.pieces)

    @property
    def is_wrong(self) -> bool:
        """Whether it was not understood as a whole and word for word."""
        return len(self.pieces) != 1 or plain_words(self.pieces[0].text) != plain_words(self.sentence.text)

    @property
    def is_split(self) -> bool:
        """Whether it was taken for more than one utterance."""
        return len(self.pieces) > 1

    @property
    def is_early(self) -> bool:
        """Whether an answer began while it was still being said."""
        return any(piece.told_ns is not None and piece.told_ns < self.end_ns for piece in self.pieces)


def spoken_files() -> list[SpokenFile]:
    """The latency set of the rehearsal kit."""
    described = json.loads(INDEX.read_text())
    assert described["sample_rate_hz"] == SAMPLE_RATE_HZ, INDEX
    return [SpokenFile(SPEECH / item["file"], tuple(map(_sentence, item["utterances"]))) for item in described["files"]]


def _sentence(item: dict[str, object]) -> Sentence:
    pauses = item["pauses"]
    assert isinstance(pauses, list)
    return Sentence(
        text=str(item["text"]),
        begin=int(str(item["begin_sample"])),
        end=int(str(item["end_sample"])),
        pauses=tuple((pause["begin_sample"], pause["end_sample"]) for pause in pauses),
    )


def read_pcm(path: Path) -> bytes:
    """The samples of a mono file of 16 kHz, WAV or FLAC."""
    samples, rate = soundfile.read(path, dtype="int16")
    assert (rate, samples.ndim) == (SAMPLE_RATE_HZ, 1), path
    return bytes(samples.tobytes())


def judge(sentences: Sequence[Sentence], pieces: Iterable[Piece], end_ns: Sequence[int]) -> list[Outcome]:
    """Give each piece to the sentence in which it begins. `end_ns`: when each sentence's last sample was heard."""
    begins = [sentence.begin - REACH_SAMPLES for sentence in sentences]
    given: list[list[Piece]] = [[] for _ in sentences]
    for piece in sorted(pieces, key=lambda piece: piece.begin):
        given[max(0, bisect_right(begins, piece.begin) - 1)].append(piece)
    return [Outcome(sentence, heard_ns, tuple(found)) for sentence, heard_ns, found in zip(sentences, end_ns, given, strict=True)]


def plain_words(text: str) -> list[str]:
    """The words alone, in lower case."""
    return re.findall(r"[a-z']+", text.lower())
