"""How many tokens a round really takes: asked of the model's server once, after the turn is over, in a thread of its own.

Finding the context then only adds up stored numbers. Until the answer comes, or where the server counts nothing, the estimate
holds.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from actors.memory.context import messages_of
from bus.addresses import Addresses
from bus.messages.turn import Round
from bus.settings import Settings

Counter = Callable[[Round], int | None]
"""Counts the tokens of a round, or tells None where it cannot. May take seconds; does not raise."""


class Counting(threading.Thread):
    """Counts the rounds handed in, one after the other, and tells each count."""

    def __init__(self, count: Counter, tell: Callable[[str, int], None]) -> None:
        """`tell` gets the turn and its tokens, in this thread."""
        super().__init__(name="counting", daemon=True)
        self._count = count
        self._tell = tell
        self._wanted: queue.SimpleQueue[tuple[str, Round]] = queue.SimpleQueue()

    def want(self, turn: str, past: Round) -> None:
        """Have the round of `turn` counted."""
        self._wanted.put((turn, past))

    def run(self) -> None:
        while True:
            turn, past = self._wanted.get()
            tokens = self._count(past)
            if tokens is not None:
                self._tell(turn, tokens)


class ServerCounter:
    """Asks the configured server's `/tokenize`, where it has one."""

    def __init__(self, settings: Settings, addresses: Addresses) -> None:
        self._settings = settings
        self._addresses = addresses
        self._counting_url = ""

    def __call__(self, past: Round) -> int | None:
        """The tokens of a round; None where the server does not count them, or is not there."""
        # requests takes longer to import than all else here, and is not needed before the first turn is over
        from actors.llm.errors import LlmError

        try:
            self._connect()
            count = self._counter.count(self._engine.model(), messages_of(past))
        except LlmError:
            return None
        return count.tokens if count.exact else None

    def _connect(self) -> None:
        """Begin anew where the server has another address than before: the rehearsal server does after a restart."""
        from actors.llm.connect import engine_for, server_url
        from actors.llm.tokens import TokenCounter

        url = server_url(self._settings.llm, self._addresses)
        if url != self._counting_url:
            self._engine = engine_for(self._settings, self._addresses)
            self._counter = TokenCounter(self._engine.client)
            self._counting_url = url
