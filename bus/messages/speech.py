"""What the segmenter hears."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from bus.messages.base import AudioMs, Body, Count, DeadlineMs, Line, Text


class SpeechStarted(Body, frozen=True, kw_only=True):
    """Someone began to speak."""

    topic: ClassVar[str] = "speech.started"
    first_sample: Count


class SpeechConfirmed(Body, frozen=True, kw_only=True):
    """Someone has spoken for so long (`interruption.min_ms`) that it silences the voice. Told again with each further second of speech, and
    when it goes on for so long after a pause."""

    topic: ClassVar[str] = "speech.confirmed"
    first_sample: Count
    speech_ms: AudioMs
    """So far, pauses left out."""


class SpeechSkipped(Body, frozen=True, kw_only=True):
    """Speech shorter than the minimum: not a turn."""

    topic: ClassVar[str] = "speech.skipped"
    first_sample: Count
    speech_ms: AudioMs
    minimum_ms: AudioMs


class SpeechEnded(Body, frozen=True, kw_only=True):
    """The end of an utterance was decided; its `transcribe` job is in the spool."""

    topic: ClassVar[str] = "speech.ended"
    first_sample: Count
    end_sample: Count
    speech_ms: AudioMs
    cut: bool = False
    """The utterance reached the maximum length and goes on in the next turn."""


class TranscriptPartial(Body, frozen=True, kw_only=True):
    """What has been said so far, by somebody who may go on. Nobody answers this."""

    topic: ClassVar[str] = "transcript.partial"
    words: ClassVar[frozenset[str]] = frozenset({"text"})
    text: Text
    stable_chars: Count
    """So many of its first characters stay as they are in all further partials of the turn."""
    revision: Count
    """How much of the turn was heard: frames of sound."""
    at_pause: bool = False
    """The speaker pauses, and this was heard with as much care as the final transcript: it will be that one if the pause is the end."""
    avg_logprob: Annotated[float, Meta(ge=-1e6, le=1e6)] = 0.0
    """At a pause: how sure the model was, as in `transcript.final`."""
    speech_ms: AudioMs = 0
    """At a pause: of the first to the last sound of speech. Less than an utterance needs, and it will be one only if more is said."""


class TranscriptFinal(Body, frozen=True, kw_only=True):
    """What was said."""

    topic: ClassVar[str] = "transcript.final"
    words: ClassVar[frozenset[str]] = frozenset({"text"})
    text: Text
    audio_ms: AudioMs
    decode_ms: DeadlineMs
    avg_logprob: Annotated[float, Meta(ge=-1e6, le=1e6)]
    no_speech_prob: Annotated[float, Meta(ge=-1e6, le=1e6)]
    rejected: Line = ""
    """Why the text was not believed (`silence`, `no-speech`, `repetition`, …), or empty."""
    speech_ms: AudioMs = 0
    """From the first to the last sound of speech."""


class WakeHeard(Body, frozen=True, kw_only=True):
    """The wake word was spoken in this stream a moment ago: what is said now is for the assistant. For a detector of the user's own."""

    topic: ClassVar[str] = "wake.heard"
