"""Speaking into an answer: the events of speech, handed to `Interruption`, and what it decides done to the voice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.tts.interruption import Interruption, Verdict
from bus.messages.speech import SpeechConfirmed, SpeechEnded, SpeechSkipped, SpeechStarted, TranscriptPartial

if TYPE_CHECKING:
    from actors.actor import Runtime
    from actors.tts.talk import Talk
    from bus.messages.base import Message


class BargeIn:
    """Whoever is talked to may interrupt; what is said in other streams is not about this answer."""

    def __init__(self, runtime: Runtime, talk: Talk, act: Callable[[], None]) -> None:
        """`act` is called after the voice was told something."""
        self._talk = talk
        self._act = act
        self._interruption = Interruption(runtime.settings.interruption.min_words, runtime.clock.monotonic_ns)
        self._open: dict[str, Message] = {}  # by stream: the newest word of an utterance that is not over
        for topic in (SpeechStarted.topic, SpeechConfirmed.topic, SpeechSkipped.topic, SpeechEnded.topic):
            runtime.subscribe(topic, self._on_speech)
        runtime.subscribe(TranscriptPartial.topic, self._on_words)

    def tick(self) -> None:
        """To be called again and again while something is being said."""
        self.notice()
        self._do(self._interruption.tick())

    def notice(self) -> None:
        """An answer may have begun, or ended, while somebody speaks."""
        said = self._talk.said
        if said is None:
            self._do(self._interruption.forget())
        elif said[0] in self._open and not self._interruption.is_ducked:
            self._take(self._open[said[0]])

    def _on_speech(self, message: Message) -> None:
        stream = message.envelope.stream
        if isinstance(message.body, SpeechStarted | SpeechConfirmed):
            self._open[stream] = message
            said = self._talk.said
            if said is not None and said[0] == stream:
                self._take(message)
        else:
            self._open.pop(stream, None)
            self._do(self._interruption.over(message.envelope.turn))

    def _take(self, message: Message) -> None:
        turn, is_long = message.envelope.turn, isinstance(message.body, SpeechConfirmed)
        if not (is_long and self._interruption.is_ducked):
            self._do(self._interruption.started(turn))
        if is_long:
            self._do(self._interruption.confirmed(turn))

    def _on_words(self, message: Message) -> None:
        said = self._talk.said
        if said is not None and isinstance(message.body, TranscriptPartial):
            self._do(self._interruption.heard(message.envelope.turn, message.body.text, said[1]))

    def _do(self, verdict: Verdict) -> None:
        if verdict == "stop":
            self._talk.interrupt()
        if verdict:
            self._talk.duck(verdict == "duck")
            self._act()
