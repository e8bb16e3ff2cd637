"""What the assistant itself has said aloud, and when: so that it never answers its own voice. Pure.

The half-duplex gate and echo cancellation come before this. What gets past them is found by its words: a transcript that is a piece of
the answer that was being heard while it was spoken is nobody else's.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from actors.echo import is_echo

LATER_NS: Final = 500_000_000
"""An echo ends this much after the voice at the latest: the room, and buffers that nobody tells of."""
EARLIER_NS: Final = 2_000_000_000
"""Speech may have begun so much earlier than is known: the pauses in it are not counted."""
MAX_ANSWERS: Final = 8


@dataclass
class _Answer:
    begun_ns: int
    ended_ns: int | None = None
    """None: it is still heard."""
    said: list[tuple[int, str]] = field(default_factory=list)
    """All words heard so far, and when that was told: when a clause had been heard."""

    def between(self, begin_ns: int, end_ns: int) -> str:
        """The words of the clauses that sounded then."""
        before = next((text for at_ns, text in reversed(self.said) if at_ns < begin_ns), "")
        by_then = next((text for at_ns, text in self.said if at_ns >= end_ns), self.said[-1][1] if self.said else "")
        return by_then.removeprefix(before)


class OwnVoice:
    """The last answers that were heard. All times are monotonic, ns."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, _Answer] = OrderedDict()

    def begins(self, turn: str, at_ns: int) -> None:
        """The answer of this turn is heard from now on."""
        self._answers[turn] = _Answer(at_ns)
        if len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)

    def goes_on(self, turn: str, since_ns: int) -> None:
        """It is heard, and has been since then; it may not be known that it began."""
        if turn not in self._answers:
            self.begins(turn, since_ns)

    def says(self, turn: str, text: str, at_ns: int) -> None:
        """These are its words as far as they have been heard by then."""
        answer = self._answers.get(turn)
        if answer is not None and (not answer.said or len(text) > len(answer.said[-1][1])):
            answer.said.append((at_ns, text))

    def ends(self, turn: str, at_ns: int) -> None:
        """It is silent."""
        answer = self._answers.get(turn)
        if answer is not None:
            answer.ended_ns = at_ns

    def is_own(self, transcript: str, begin_ns: int, end_ns: int) -> bool:
        """Whether words whose first and last sound was captured then are ours, heard back."""
        return any(
            answer.begun_ns <= end_ns
            and (answer.ended_ns is None or end_ns <= answer.ended_ns + LATER_NS)
            and is_echo(transcript, answer.between(begin_ns - EARLIER_NS - LATER_NS, end_ns))
            for answer in self._answers.values()
        )
