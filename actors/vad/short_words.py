"""Speech that counts though it is too short for a turn. Pure.

The least speech that the presets ask for keeps coughs and doors out, and "yes" with them. So words count all the same, however short,
when they are all that was said, are known to the assistant, and are expected: its last words were a question, or they wake it.
"""

from __future__ import annotations

from typing import Final

from actors.dialogue.phrases import after_wake, command_of
from bus.texts import Phrases

ANSWER_WITHIN_NS: Final = 30_000_000_000
"""As long as "Did you say …?" waits for an answer (`actors/dialogue/turns.py`)."""
QUESTION_MARKS: Final = ("?", "？", "؟")


class ShortWords:
    """What is expected in one stream. All times are monotonic ns."""

    def __init__(self, phrases: Phrases, wake: tuple[str, ...]) -> None:
        self._phrases = phrases
        self._wake = wake
        self._asked_ns = 0

    def said(self, reply: str, now_ns: int) -> None:
        """A turn is over, to which the assistant said that; perhaps nothing."""
        self._asked_ns = now_ns if reply.rstrip(" \"'”’»)").endswith(QUESTION_MARKS) else 0

    def answered(self) -> None:
        """Somebody has said something after the question."""
        self._asked_ns = 0

    def are_expected(self, now_ns: int) -> bool:
        """Whether there are any that would count."""
        return bool(self._wake) or self.is_asked(now_ns)

    def count(self, text: str, now_ns: int) -> bool:
        """Whether these words do."""
        return self.wake(text) or (self.is_asked(now_ns) and command_of(self._phrases, text) is not None)

    def wake(self, text: str) -> bool:
        """Whether they begin with the wake phrase: then more may come."""
        return after_wake(self._wake, text) is not None

    def is_asked(self, now_ns: int) -> bool:
        """Whether a question waits for its answer."""
        return self._asked_ns > 0 and now_ns - self._asked_ns <= ANSWER_WITHIN_NS
