"""What the segmenter hears."""

from __future__ import annotations

from typing import ClassVar

from bus.messages.base import Body


class SpeechStarted(Body, frozen=True, kw_only=True):
    """Someone began to speak."""

    topic: ClassVar[str] = "speech.started"
    first_sample: int


class SpeechSkipped(Body, frozen=True, kw_only=True):
    """Speech shorter than the minimum: not a turn."""

    topic: ClassVar[str] = "speech.skipped"
    first_sample: int
    speech_ms: int
    minimum_ms: int


class SpeechEnded(Body, frozen=True, kw_only=True):
    """The end of an utterance was decided; its `transcribe` job is in the spool."""

    topic: ClassVar[str] = "speech.ended"
    first_sample: int
    end_sample: int
    speech_ms: int
    cut: bool = False
    """The utterance reached the maximum length and goes on in the next turn."""


class TranscriptFinal(Body, frozen=True, kw_only=True):
    """What was said."""

    topic: ClassVar[str] = "transcript.final"
    words: ClassVar[frozenset[str]] = frozenset({"text"})
    text: str
    audio_ms: int
    decode_ms: int
    avg_logprob: float
    no_speech_prob: float
    rejected: str = ""
    """Why the text was not believed (`silence`, `no-speech`, `repetition`, …), or empty."""
