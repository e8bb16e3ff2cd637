"""How long a pause may last before it is the end: the policy. Pure.

The silence limit of a preset is a compromise: long enough for most pauses in a sentence, and so too long behind a sentence that is
plainly over. In the pause there is more to go by: the words so far, transcribed ahead of time, and, with a model for it, the sound. An
`Endpointer` judges one of them, and the verdicts choose among three limits. Where nothing is known, and where two contradict each
other, the fixed limit holds, as it did before.

A judge of words (`english.py`) looks at the last words, for Whisper puts a full stop behind nearly everything. Of other languages
nothing is known here: the fixed limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Verdict(Enum):
    """What is to be thought of a pause."""

    FINISHED = "finished"
    UNFINISHED = "unfinished"
    UNSURE = "unsure"


class Endpointer(Protocol):
    """Judges the pause in which an utterance is: by its words, or by its sound."""

    def by_words(self, text: str) -> Verdict:
        """`text` is all that was said so far."""

    def by_sound(self, pcm: bytes) -> Verdict:
        """`pcm` is all that was heard so far: mono int16 at 16 kHz, from before the first word to a little after the last."""


@dataclass(frozen=True)
class SilenceLimits:
    """How much silence ends an utterance, ms."""

    finished_ms: int
    fixed_ms: int
    unfinished_ms: int

    def __post_init__(self) -> None:
        """Raise ValueError when they are not in order."""
        if not 0 < self.finished_ms <= self.fixed_ms <= self.unfinished_ms:
            raise ValueError(
                "vad: finished_silence_s, silence_limit_s and unfinished_silence_s must not be one shorter than the one before"
            )

    def of(self, verdict: Verdict) -> int:
        """The limit that goes with a verdict."""
        match verdict:
            case Verdict.FINISHED:
                return self.finished_ms
            case Verdict.UNFINISHED:
                return self.unfinished_ms
            case Verdict.UNSURE:
                return self.fixed_ms


class Words:
    """Judges by the words, in languages of which something is known."""

    def __init__(self, language: str) -> None:
        """`language` is the ISO code of what Whisper hears; empty where it finds that out itself."""
        self._judge: Callable[[str], Verdict] | None = None
        if language == "en":
            from actors.vad.english import judge

            self._judge = judge

    def by_words(self, text: str) -> Verdict:
        return self._judge(text) if self._judge is not None else Verdict.UNSURE

    def by_sound(self, pcm: bytes) -> Verdict:  # noqa: ARG002
        return Verdict.UNSURE


SURE_LOGPROB = -0.6
"""A transcript of which Whisper was less sure than this proves nothing: cut off in the middle of a sentence, it likes to make up an end."""


class Policy:
    """The limits of the pauses of one stream. Each call returns the silence limit that now holds for the present pause, ms."""

    def __init__(self, limits: SilenceLimits, endpointers: tuple[Endpointer, ...]) -> None:
        self._limits = limits
        self._endpointers = endpointers
        self._by_sound = Verdict.UNSURE

    def paused(self, pcm: bytes) -> int:
        """A pause has begun after `pcm`."""
        self._by_sound = agreed(*(endpointer.by_sound(pcm) for endpointer in self._endpointers))
        return self._limits.of(self._by_sound)

    @property
    def longest_ms(self) -> int:
        """Where more is likely to come."""
        return self._limits.unfinished_ms

    def is_sure(self, avg_logprob: float) -> bool:
        """Whether Whisper was sure enough of some words."""
        return avg_logprob >= SURE_LOGPROB

    def read(self, text: str, avg_logprob: float = 0.0) -> int:
        """The words before the present pause are known, and how sure Whisper was of them."""
        if not self.is_sure(avg_logprob):
            return self._limits.of(self._by_sound)
        return self._limits.of(agreed(self._by_sound, *(endpointer.by_words(text) for endpointer in self._endpointers)))


def agreed(*verdicts: Verdict) -> Verdict:
    """What those say who are sure; UNSURE when none is, or when they contradict each other."""
    sure = {verdict for verdict in verdicts if verdict is not Verdict.UNSURE}
    return sure.pop() if len(sure) == 1 else Verdict.UNSURE
