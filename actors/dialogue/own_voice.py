"""What the assistant itself has said aloud, and when: so that it never answers its own voice. Pure.

The half-duplex gate and echo cancellation come before this. What gets past them is found by its words: a transcript that is a piece of
the answer that was being heard while it was spoken is nobody else's.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from actors.echo import is_echo

LATER_NS: Final = 500_000_000
"""An echo ends this much after the voice at the latest: the room, and buffers that nobody tells of."""
MAX_ANSWERS: Final = 8


@dataclass
class _Answer:
    begun_ns: int
    ended_ns: int | None = None
    """None: it is still heard."""
    text: str = ""


class OwnVoice:
    """The last answers that were heard. All times are monotonic, ns."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, _Answer] = OrderedDict()

    def begins(self, turn: str, at_ns: int) -> None:
        """The answer of this turn is heard from now on."""
        self._answers[turn] = _Answer(at_ns)
        if len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)

    def says(self, turn: str, text: str) -> None:
        """These are its words, as far as they are known."""
        answer = self._answers.get(turn)
        if answer is not None and len(text) > len(answer.text):
            answer.text = text

    def ends(self, turn: str, at_ns: int) -> None:
        """It is silent."""
        answer = self._answers.get(turn)
        if answer is not None:
            answer.ended_ns = at_ns

    def is_own(self, transcript: str, speech_end_ns: int) -> bool:
        """Whether words whose last sound was captured then are ours, heard back."""
        return any(
            answer.begun_ns <= speech_end_ns
            and (answer.ended_ns is None or speech_end_ns <= answer.ended_ns + LATER_NS)
            and is_echo(transcript, answer.text)
            for answer in self._answers.values()
        )
