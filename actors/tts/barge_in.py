"""Speaking into an answer: the events of speech, handed to `Interruption`, and what it decides done to the voice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from actors.dialogue.manner import phrases_of
from actors.dialogue.phrases import Command, command_of
from actors.dialogue.turns import somebody_spoke
from actors.tts.interruption import Interruption, Verdict
from bus.messages.jobs import Heard
from bus.messages.speech import SpeechConfirmed, SpeechEnded, SpeechSkipped, SpeechStarted, TranscriptFinal, TranscriptPartial

if TYPE_CHECKING:
    from actors.actor import Runtime
    from actors.tts.talk import Said, Talk
    from bus.messages.base import Body, Message

LATE_S: Final = 5.0
"""News of an utterance are underway for so long at the most."""


class BargeIn:
    """Whoever is talked to may interrupt; what is said in other streams is not about this answer."""

    def __init__(self, runtime: Runtime, talk: Talk, act: Callable[[], None]) -> None:
        """`act` is called after the voice was told something."""
        settings = runtime.settings
        self._talk = talk
        self._act = act
        self._clock = runtime.clock
        self._phrases = phrases_of(settings.dialogue, settings.whisper.language)
        self._room = settings.mic.stream if settings.hears_itself else None  # the stream that has our own voice in it
        self._longest_ns = round((settings.vad.maximum_s + LATE_S) * 1e9)
        self._minimum_ms = round(settings.vad.endpointing.minimum_speech_s * 1000)
        self._interruption = Interruption(
            settings.interruption.min_words, runtime.clock.monotonic_ns, short_words=settings.vad.pause_ms > 0
        )
        self._open: dict[str, tuple[Message, int]] = {}  # by stream: the newest word of an utterance that is not over, and since when
        self._taken: tuple[Message, str] | None = None  # such a word, and the answer that it was about
        for topic in (SpeechStarted.topic, SpeechConfirmed.topic, SpeechSkipped.topic, SpeechEnded.topic):
            runtime.subscribe(topic, self._on_speech)
        for topic in (TranscriptPartial.topic, TranscriptFinal.topic):
            runtime.subscribe(topic, self._on_words)

    def tick(self) -> None:
        """To be called again and again while something is being said."""
        self.notice()
        self._do(self._interruption.tick())

    def notice(self) -> None:
        """An answer may have begun, or ended, while somebody speaks."""
        said = self._talk.said
        if said is None:
            self._do(self._interruption.forget())
            return
        message = self._speaking(said)
        if message is not None and not self._interruption.is_ducked and self._taken != (message, said.turn):
            self._take(message, said)

    def _speaking(self, said: Said) -> Message | None:
        """Who speaks into this answer: not who asked for it, nor before, for the news of his end may be late or lost."""
        message, since_ns = self._open.get(said.stream, (None, 0))
        if message is None or self._clock.monotonic_ns() - since_ns > self._longest_ns or not is_later(message.envelope.turn, said.turn):
            return None
        return message

    def _on_speech(self, message: Message) -> None:
        stream, turn = message.envelope.stream, message.envelope.turn
        before, since_ns = self._open.get(stream, (None, 0))
        is_same = before is not None and before.envelope.turn == turn
        if isinstance(message.body, SpeechStarted | SpeechConfirmed):
            self._open[stream] = message, since_ns if is_same else self._clock.monotonic_ns()
            said = self._talk.said
            if said is not None and self._speaking(said) is message:
                self._take(message, said)
        else:
            if is_same:
                del self._open[stream]
            is_turn = isinstance(message.body, SpeechEnded)
            self._do(self._interruption.ended(turn) if is_turn else self._interruption.skipped(turn))

    def _take(self, message: Message, said: Said) -> None:
        turn, is_long = message.envelope.turn, isinstance(message.body, SpeechConfirmed)
        self._taken = message, said.turn
        if not (is_long and self._interruption.is_ducked):
            self._do(self._interruption.started(turn))
        if is_long:
            self._do(self._interruption.confirmed(turn))

    def _on_words(self, message: Message) -> None:
        said, turn = self._talk.said, message.envelope.turn
        speaking = None if said is None else self._speaking(said)
        is_open = speaking is not None and speaking.envelope.turn == turn
        if said is None or not (is_open or self._interruption.knows(turn)):
            return
        text = message.body.text if isinstance(message.body, TranscriptPartial | TranscriptFinal) else ""
        verdict = self._verdict(message.body, text, turn, said)
        self._do(verdict)
        if text and not verdict and is_open and speaking is not None and not self._interruption.is_ducked:
            self._take(speaking, said)  # it was given up, or taken for our own

    def _verdict(self, words: Body, text: str, turn: str, said: Said) -> Verdict:
        """What follows of words that were heard."""
        command = command_of(self._phrases, text)
        spoken = said.text if said.stream == self._room and command is None else ""
        match words:
            case _ if command is Command.STOP and self._interruption.knows(turn):
                return self._interruption.commanded(turn)
            case TranscriptPartial(at_pause=True, speech_ms=speech_ms):
                return self._interruption.paused(turn, text, spoken, is_turn=speech_ms >= self._minimum_ms)
            case TranscriptPartial():
                return self._interruption.heard(turn, text, spoken)
            case TranscriptFinal(rejected=rejected, speech_ms=speech_ms):
                is_answered = somebody_spoke(Heard(transcript=text, rejected=rejected, speech_ms=speech_ms))
                return self._interruption.understood(turn, text, spoken, is_answered=is_answered)
        return ""

    def _do(self, verdict: Verdict) -> None:
        if verdict == "stop":
            self._talk.interrupt()
        if verdict:
            self._talk.duck(verdict in ("duck", "hold"))
            self._talk.hold(verdict == "hold")
            self._act()


def is_later(turn: str, answered: str) -> bool:
    """Whether an utterance was begun after that of another turn; they are named STREAM-EPOCH-SAMPLE, and those of other epochs are."""
    (epoch, _, sample), (other, _, answered_sample) = turn.rpartition("-"), answered.rpartition("-")
    if epoch != other or not (sample.isdecimal() and answered_sample.isdecimal()):
        return turn != answered
    return int(sample) > int(answered_sample)
