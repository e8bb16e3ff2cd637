"""How much of a conversation the model is told again. Pure.

A model server keeps what it has read in a prefix cache: as long as the prompt begins as it did the last time, only its new end
costs anything. So old rounds are not dropped one by one, which would change the beginning on every turn, but in blocks. Rounds
are counted from 0 in their stream, and the oldest round given is one whose number is a multiple of the block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from actors.llm.prompt import Message
from bus.messages.turn import Round


@dataclass(frozen=True, slots=True)
class PastRound:
    """A round as memory keeps it."""

    number: int
    """Counts from 0 in its stream. A number is missing where a turn was forgotten."""
    tokens: int
    round: Round


def messages_of(past: Round) -> list[Message]:
    """A round as the model is told it."""
    return [Message(role="user", content=past.user), Message(role="assistant", content=past.assistant)]


def window_start(next_number: int, rounds: int, block: int) -> int:
    """The oldest round to give when `next_number` is the number of the round being asked: at least `rounds` rounds, less than
    `rounds + block`, and a multiple of `block`. With `rounds` 0 there is no context."""
    if not rounds:
        return next_number
    return max(0, next_number - rounds) // block * block


def trim(window: Sequence[PastRound], max_tokens: int, block: int) -> Sequence[PastRound]:
    """The newest rounds of `window` (oldest first) that take at most `max_tokens`, dropped by whole blocks.

    Where whole blocks would leave less than half of the budget in use (long answers, a small budget), blocks of half the
    size are taken, and so on: better a prompt that is read anew than an assistant that forgot the last question.
    """
    tail_tokens = list(accumulate(past.tokens for past in reversed(window)))[::-1]
    if not window or tail_tokens[0] <= max_tokens:
        return window
    for size in _halves(block):
        start = next((at for at in _boundaries(window, size) if tail_tokens[at] <= max_tokens), None)
        if start is not None and (size == 1 or 2 * tail_tokens[start] >= max_tokens):
            return window[start:]
    return ()


def _boundaries(window: Sequence[PastRound], size: int) -> Iterator[int]:
    """Where in `window` a block of `size` begins: its first round that is left."""
    for at, past in enumerate(window):
        if at and past.number // size != window[at - 1].number // size:
            yield at


def _halves(size: int) -> Iterator[int]:
    while size:
        yield size
        size //= 2
