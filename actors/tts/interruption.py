"""Somebody speaks while we do: quieter at once, silent once it is speech, and then on again if it was nothing. Pure.

The first sign of a voice is cheap and often wrong (a cough, a door, our own echo), so it only makes us quieter. Speech that has lasted
for `min_ms` and, if so wanted, has `min_words` words silences us, but what we were saying is only *held*: a cough, a laugh or a "mhm"
lasts as long. It is given up when it is known that the speech will be answered: an utterance, long enough for a turn, in which the
transcriber found words of somebody else. "Stop" is shorter than any turn, and ends it too. We go on when it was too short for a
turn, had no words or only our own, or when nothing more is told of it for HELD_S.

These thresholds are their own: how long somebody has to speak to interrupt has nothing to do with how long one has to speak to be answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Literal

from actors.echo import is_echo, may_be_echo

PATIENCE_S: Final = 3.0
"""Without a word of how it went on, we are as loud as before."""
HELD_S: Final = 6.0
"""Without a word of how it went on, we go on. Who speaks on is told of each second, and a transcript seldom takes so long."""
WORDS_S: Final = 1.5
"""Speech that was too short for a turn may have been "stop": its words are waited for so long, if they are not there by then."""
MAX_TURNS: Final = 8
Verdict = Literal["", "duck", "restore", "hold", "stop"]
"""`restore`: as loud as ever, and going on if it was held."""


class Interruption:
    """Follows one answer at a time. Each fact brings a verdict: what the voice is to do now."""

    def __init__(self, min_words: int, clock_ns: Callable[[], int], *, short_words: bool = False) -> None:
        """`min_words`: words of a transcript that are needed too; 0: none. How long speech has to last is known to whoever confirms it.
        `short_words`: the words of speech that is too short for a turn are told too."""
        self._min_words = min_words
        self._clock_ns = clock_ns
        self._short_words = short_words
        self._turn = ""  # whose speech made us quieter
        self._until_ns = 0
        self._is_held = False
        self._words = ("", 0)  # of which turn, and how many
        self._own = ""  # the turn of which all words so far are our own
        self._long: deque[str] = deque(maxlen=MAX_TURNS)  # turns whose speech has lasted for `min_ms`
        self._understood: deque[str] = deque(maxlen=MAX_TURNS)  # turns of which a transcript is known

    @property
    def is_ducked(self) -> bool:
        """Whether somebody seems to speak."""
        return bool(self._turn)

    def knows(self, turn: str) -> bool:
        """Whether the speech of this turn has lasted, in this answer."""
        return turn in self._long

    def started(self, turn: str) -> Verdict:
        """There is a voice; it is the utterance of this turn."""
        if turn == self._own:
            return ""
        verdict: Verdict = "" if self._turn else "duck"
        self._turn = turn
        self._wait(HELD_S if self._is_held else PATIENCE_S)
        return verdict

    def confirmed(self, turn: str) -> Verdict:
        """It has lasted for `min_ms`, or for another second."""
        if turn != self._turn:
            return ""
        if turn not in self._long:
            self._long.append(turn)
        self._wait(HELD_S if self._is_held else PATIENCE_S)
        return self._judge()

    def heard(self, turn: str, text: str, spoken: str) -> Verdict:
        """What was said so far, by somebody who may go on; `spoken` is what we have said ourselves in this answer, if that can be heard."""
        if is_echo(text, spoken):
            self._own = turn
            return self.over(turn)
        if may_be_echo(text, spoken):
            return ""
        self._own = "" if self._own == turn else self._own
        self._words = (turn, len(text.split()))
        if turn != self._turn:
            return ""
        self._wait(HELD_S if self._is_held else PATIENCE_S)
        return self._judge()

    def paused(self, turn: str, text: str, spoken: str, *, is_turn: bool) -> Verdict:
        """The same at a pause, with more care. `is_turn`: it is long enough to be answered."""
        self._understood.append(turn)
        if not text:
            return self.over(turn)
        verdict = self.heard(turn, text, spoken)
        is_settled = is_turn and turn in self._long and turn != self._own and not may_be_echo(text, spoken)
        return self._stop() if is_settled and self._is_enough(text) else verdict

    def commanded(self, turn: str) -> Verdict:
        """All that was said so far is that we are to stop."""
        return self._stop() if turn in self._long else ""

    def skipped(self, turn: str) -> Verdict:
        """It was too short to be answered."""
        if turn == self._turn and self._is_held and self._short_words and turn not in self._understood:
            self._wait(WORDS_S)
            return ""
        return self.over(turn)

    def ended(self, turn: str) -> Verdict:
        """It is an utterance; its transcript comes."""
        if turn != self._turn or not self._is_held:
            return self.over(turn)
        self._wait(HELD_S)
        return ""

    def understood(self, turn: str, text: str, spoken: str, *, is_answered: bool) -> Verdict:
        """This is its transcript. `is_answered`: the assistant will say something to it."""
        if turn not in self._long or not is_answered or is_echo(text, spoken) or not self._is_enough(text):
            return self.over(turn)
        return self._stop()

    def over(self, turn: str) -> Verdict:
        """It was too short, or has ended, or was no speech."""
        return self._restore() if turn == self._turn else ""

    def forget(self) -> Verdict:
        """Nothing is being said any more that could be interrupted."""
        self._long.clear()
        return self._restore()

    def tick(self) -> Verdict:
        """Some time has passed: how it went on may have got lost."""
        return self._restore() if self._clock_ns() > self._until_ns else ""

    def _wait(self, seconds: float) -> None:
        self._until_ns = self._clock_ns() + round(seconds * 1e9)

    def _is_enough(self, text: str) -> bool:
        return len(text.split()) >= self._min_words

    def _judge(self) -> Verdict:
        turn, words = self._words
        if self._is_held or self._turn not in self._long or (words if turn == self._turn else 0) < self._min_words:
            return ""
        self._is_held = True
        self._wait(HELD_S)
        return "hold"

    def _restore(self) -> Verdict:
        was_ducked, self._turn, self._is_held = self.is_ducked, "", False
        return "restore" if was_ducked else ""

    def _stop(self) -> Verdict:
        self._restore()
        self._long.clear()
        return "stop"
