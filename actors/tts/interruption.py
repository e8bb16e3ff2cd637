"""Somebody speaks while we do: quieter at once, silent once it is speech meant for us, as before if it was nothing. Pure.

The first sign of a voice is cheap and often wrong (a cough, a door, our own echo), so it only makes us quieter. Speech that has lasted
for `min_ms` and, if so wanted, has `min_words` words silences us. Words that are our own, heard back, count for nothing. Whoever
only coughed is over soon: then, or after PATIENCE_S without a word of how it went on, we are as loud as before.

These thresholds are their own: how long somebody has to speak to interrupt has nothing to do with how long one has to speak to be answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from actors.echo import is_echo, may_be_echo

PATIENCE_S: Final = 3.0
Verdict = Literal["", "duck", "restore", "stop"]


class Interruption:
    """Follows one answer at a time. Each fact brings a verdict: what the voice is to do now."""

    def __init__(self, min_words: int, clock_ns: Callable[[], int]) -> None:
        """`min_words`: words of a transcript that are needed too; 0: none. How long speech has to last is known to whoever confirms it."""
        self._min_words = min_words
        self._clock_ns = clock_ns
        self._turn = ""  # whose speech made us quieter
        self._since_ns = 0
        self._is_long = False
        self._words = ("", 0)  # of which turn, and how many
        self._own = ""  # the turn of which all words so far are our own

    @property
    def is_ducked(self) -> bool:
        """Whether somebody seems to speak."""
        return bool(self._turn)

    def started(self, turn: str) -> Verdict:
        """There is a voice; it is the utterance of this turn."""
        if turn == self._own:
            return ""
        verdict: Verdict = "" if self._turn else "duck"
        self._turn, self._since_ns, self._is_long = turn, self._clock_ns(), False
        return verdict

    def confirmed(self, turn: str) -> Verdict:
        """It has lasted for `min_ms`."""
        if turn != self._turn:
            return ""
        self._is_long, self._since_ns = True, self._clock_ns()
        return self._judge()

    def heard(self, turn: str, text: str, spoken: str) -> Verdict:
        """What was said so far; `spoken` is what we have said ourselves in this answer, if that can be heard."""
        if is_echo(text, spoken):
            self._own = turn
            return self.over(turn)
        if may_be_echo(text, spoken):
            return ""
        self._own = "" if self._own == turn else self._own
        self._words = (turn, len(text.split()))
        if turn != self._turn:
            return ""
        self._since_ns = self._clock_ns()
        return self._judge()

    def over(self, turn: str) -> Verdict:
        """It was too short, or has ended, or was no speech."""
        return self.forget() if turn == self._turn else ""

    def forget(self) -> Verdict:
        """Nothing is being said any more that could be interrupted."""
        was_ducked, self._turn = self.is_ducked, ""
        return "restore" if was_ducked else ""

    def tick(self) -> Verdict:
        """Some time has passed: how it went on may have got lost."""
        is_late = self._clock_ns() - self._since_ns > PATIENCE_S * 1e9
        return self.forget() if is_late else ""

    def _judge(self) -> Verdict:
        turn, words = self._words
        if not self._is_long or (words if turn == self._turn else 0) < self._min_words:
            return ""
        self._turn = ""
        return "stop"
