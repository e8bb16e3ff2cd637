"""The sound files of the rehearsal kit, as the benchmarks want them: mono int16 PCM at 16 kHz."""

from __future__ import annotations

import json
import wave
from pathlib import Path

from bus.limits import FRAME_BYTES, SAMPLE_BYTES, SAMPLE_RATE_HZ
from supervisor.modules import ROOT

SPEECH = ROOT / "assets" / "speech"
CONVERSATION = SPEECH / "conversation.wav"
BEFORE_S, AFTER_S = 0.3, 1.0
"""What the segmenter adds to an utterance with the preset `conversation`: its pre-roll, and the silence that ended it."""


def read_wav(path: Path) -> bytes:
    """The samples of a mono file of 16 kHz."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, SAMPLE_BYTES, SAMPLE_RATE_HZ), path
        return bytes(file.readframes(file.getnframes()))


def frames(pcm: bytes) -> list[bytes]:
    """Whole frames of 30 ms; what is left over at the end is left out."""
    return [pcm[at : at + FRAME_BYTES] for at in range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES)]


def utterances() -> list[bytes]:
    """The single sentences of the kit, each as long as the segmenter would cut it."""
    described = json.loads((SPEECH / "transcripts.json").read_text())["files"]
    spoken = [item for item in described if item["expected"] == "turn" and item["file"].endswith(".wav")]
    return [cut(read_wav(SPEECH / item["file"]), item["start_s"] - BEFORE_S, item["end_s"] + AFTER_S) for item in spoken]


def cut(pcm: bytes, begin_s: float, end_s: float) -> bytes:
    """From one time to another, as far as there is sound."""
    begin, end = (max(0, round(at_s * SAMPLE_RATE_HZ)) * SAMPLE_BYTES for at_s in (begin_s, end_s))
    return pcm[begin:end]


def seconds(pcm: bytes) -> float:
    return len(pcm) / SAMPLE_BYTES / SAMPLE_RATE_HZ
