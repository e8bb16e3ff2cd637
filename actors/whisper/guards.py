"""Whether to believe what Whisper wrote. Pure.

Whisper invents text on noise and silence, and does so with confidence: its own thresholds do not catch that. So the sound
is looked at before the model (loudness, and whether a voice is in it) and the text after it (confidence, repetition,
a rate of speech that nobody speaks, and the sentences that Whisper is known to make up).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bus.settings import WhisperSettings

MIN_VOICE_PROB = 0.15
"""Below this Silero is sure that no voice is in the whole utterance. Low, because losing speech is worse than hearing noise."""
MAX_WORDS_PER_S = 8.0
"""Fast speech has about five words a second; an auctioneer reaches eight."""
SHORT_RATE_WORDS = 4
"""Fewer words than this are not judged by their rate: the measured length of a single word is too coarse."""
PHANTOM_NO_SPEECH = 0.3
"""From this no-speech probability on, a sentence that Whisper is known to invent is not believed."""

PHANTOMS = frozenset(
    {
        "you",
        "bye",
        "thank you",
        "thank you very much",
        "thanks for watching",
        "thank you for watching",
        "please subscribe",
        "subtitles by the amara org community",
        "i'll see you next time",
    }
)
"""What Whisper models write for silence and noise: they learnt it from the ends of subtitled films."""


@dataclass(frozen=True)
class Segment:
    """One segment as the model gave it."""

    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float


@dataclass(frozen=True)
class Limits:
    """The thresholds, from the configuration."""

    no_speech_prob: float
    avg_logprob: float
    compression_ratio: float
    min_rms_dbfs: float
    min_voice_prob: float

    @classmethod
    def of(cls, settings: WhisperSettings) -> Limits:
        """The thresholds as they are configured."""
        return cls(
            no_speech_prob=settings.no_speech_threshold,
            avg_logprob=settings.log_prob_threshold,
            compression_ratio=settings.compression_ratio_threshold,
            min_rms_dbfs=settings.min_rms_dbfs,
            min_voice_prob=MIN_VOICE_PROB,
        )


@dataclass(frozen=True)
class Judgement:
    """What is believed."""

    text: str
    rejected: str = ""
    """`silence` and `no-speech` (no voice in the sound), `no-words` (a voice, but the model found no words), `repetition`, `rate` or
    `phantom`; empty when the text stands."""
    doubtful: bool = False
    """The model itself was unsure of what it wrote."""

    @property
    def sure(self) -> bool:
        """There is a text, and the model had no doubt of it."""
        return not self.rejected and not self.doubtful


def judge_sound(rms_dbfs: float, voice_prob: float, limits: Limits) -> str:
    """Return why this sound is not to be given to the model, or an empty string.

    `rms_dbfs` is the loudness of the loudest frame, dB of full scale; `voice_prob` the highest probability of a voice in it.
    """
    if rms_dbfs < limits.min_rms_dbfs:
        return "silence"
    if voice_prob < limits.min_voice_prob:
        return "no-speech"
    return ""


def judge_text(segments: Sequence[Segment], speech_ms: int, limits: Limits) -> Judgement:
    """Judge what the model wrote for speech of the given length."""
    kept = [segment for segment in segments if not _is_no_speech(segment, limits)]
    text = " ".join(segment.text.strip() for segment in kept).strip()
    if not re.search(r"\w", text):
        return Judgement("", "no-words")
    if any(segment.compression_ratio > limits.compression_ratio for segment in kept):
        return Judgement("", "repetition")
    words = len(text.split())
    if words >= SHORT_RATE_WORDS and words > MAX_WORDS_PER_S * speech_ms / 1000:
        return Judgement("", "rate")
    if _bare(text) in PHANTOMS and max(segment.no_speech_prob for segment in kept) >= PHANTOM_NO_SPEECH:
        return Judgement("", "phantom")
    return Judgement(text, doubtful=min(segment.avg_logprob for segment in kept) < limits.avg_logprob)


def _is_no_speech(segment: Segment, limits: Limits) -> bool:
    return segment.no_speech_prob > limits.no_speech_prob and segment.avg_logprob < limits.avg_logprob


def _bare(text: str) -> str:
    return " ".join(re.findall(r"[\w']+", text.lower()))
