"""What the model's server is sent while somebody speaks, so that it has read the beginning of the next prompt by then. Pure.

Servers keep what they have read in a prefix cache, so most of the time there is nothing to be done: the last answer has left in it what
the next prompt begins with. That is not so at the first turn after a start, and may not be so after the server was away, after
another stream had its turn, and after a while, in which others may have used the server or it may have put the model aside.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from actors.llm.prompt import Message, build_messages

KEPT_S: Final = 60.0
"""What was read longer ago may be out of the cache."""
MAX_STREAMS: Final = 16
PLACEHOLDER: Final = "."
"""In the place of what is being said: a prompt ends with the user in any chat template."""


class Warmth:
    """What the server has read, and what it is to read."""

    def __init__(self, system: str) -> None:
        """`system`: the prompt of the role in use."""
        self._system = system
        self._prompts: dict[str, tuple[str, list[tuple[str, str]]]] = {}
        self._read: tuple[str, int] | None = None
        self._utterance = ""

    def answered(self, stream: str, system: str, rounds: Iterable[tuple[str, str]], now_ns: int) -> None:
        """The server has read this prompt and made the last of these answers."""
        self._prompts.pop(stream, None)
        self._prompts[stream] = system, list(rounds)
        if len(self._prompts) > MAX_STREAMS:
            del self._prompts[next(iter(self._prompts))]
        self.has_read(stream, now_ns)

    def has_read(self, stream: str, now_ns: int) -> None:
        """The cache holds what the next prompt of this stream begins with."""
        self._read = stream, now_ns

    def lost(self) -> None:
        """The server was away: its cache is empty."""
        self._read = None

    def to_read(self, stream: str, turn: str, now_ns: int) -> list[Message]:
        """What is to be sent now that this turn has begun; nothing where that is of no use, or where it was asked for already."""
        if turn == self._utterance:
            return []
        self._utterance = turn
        if self._read is not None and self._read[0] == stream and now_ns - self._read[1] < KEPT_S * 1e9:
            return []
        system, rounds = self._prompts.get(stream, (self._system, []))
        return build_messages(system, rounds, PLACEHOLDER)
