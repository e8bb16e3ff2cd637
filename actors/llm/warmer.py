"""While somebody speaks and nothing is asked of the model's server, it reads what the next prompt begins with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from actors.llm import errors
from actors.llm.warm import Warmth
from bus.messages.jobs import Answer, Answered
from bus.messages.speech import SpeechStarted

if TYPE_CHECKING:
    from actors.actor import Runtime
    from actors.llm.engine import Engine, Reply
    from bus.messages.base import Message

InThread = Callable[[Callable[[], None]], None]


@dataclass(eq=False)
class _Request:
    stream: str
    reply: Reply | None = None
    is_off: bool = False


class Warmer:
    """At most one request an utterance, and none beside a lease. Whether it succeeds is of no interest to anybody."""

    def __init__(self, runtime: Runtime, engine: Callable[[], Engine], in_thread: InThread) -> None:
        """`engine` may be called in a thread; `in_thread` runs a function in one."""
        self._runtime = runtime
        self._engine = engine
        self._in_thread = in_thread
        dialogue = runtime.settings.dialogue
        role = dialogue.roles.get(dialogue.role)
        self._warmth = Warmth(role.prompt if role is not None else "")
        self._request: _Request | None = None
        if runtime.settings.llm.warm:
            runtime.subscribe(SpeechStarted.topic, self._on_speech)

    def stop(self) -> None:
        """The server is wanted for something better."""
        request, self._request = self._request, None
        if request is not None:
            request.is_off = True
            if request.reply is not None:
                request.reply.cancel()

    def answered(self, stream: str, asked: Answer, answered: Answered) -> None:
        """The server has answered this."""
        rounds = [*((past.user, past.assistant) for past in asked.rounds), (asked.transcript, answered.reply)]
        self._warmth.answered(stream, asked.system, rounds, self._runtime.clock.monotonic_ns())

    def lost(self) -> None:
        """The server was away."""
        self._warmth.lost()

    def _on_speech(self, message: Message) -> None:
        if self._request is not None or self._runtime.jobs.lease is not None:
            return
        stream, turn = message.envelope.stream, message.envelope.turn
        messages = self._warmth.to_read(stream, turn, self._runtime.clock.monotonic_ns())
        if messages:
            self._request = request = _Request(stream)
            self._in_thread(lambda: self._send(request, lambda: self._engine().reply(messages, max_tokens=1)))

    def _send(self, request: _Request, make: Callable[[], Reply]) -> None:
        """In the thread."""
        try:
            request.reply = reply = make()
            if request.is_off:
                reply.cancel()
            for _ in reply:
                pass
        except errors.LlmError:
            well = False
        else:
            well = True
        self._runtime.post(partial(self._over, request, well=well))

    def _over(self, request: _Request, *, well: bool) -> None:
        if request is self._request:
            self._request = None
            if well:
                self._warmth.has_read(request.stream, self._runtime.clock.monotonic_ns())
