"""The actor `vad`: finds the streams of this instance and listens to each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.dialogue.manner import phrases_of
from actors.vad.duplex import VoiceGate
from actors.vad.ear import Ear
from actors.vad.endpoint import Endpointer, Policy, SilenceLimits, Words
from actors.vad.engines import open_engine
from actors.vad.relay import Relay
from actors.vad.segmenter import TAIL_MS, SegmenterConfig
from actors.vad.short_words import ShortWords
from bus.addresses import is_locked
from bus.errors import SetupError
from bus.messages.audio import AudioOpened
from bus.messages.speech import TranscriptPartial
from bus.messages.turn import TurnFinished
from bus.messages.voice import VoiceCut, VoiceFinished, VoicePlaying, VoiceStarted

if TYPE_CHECKING:
    from actors.actor import Runtime
    from actors.vad.engines import Engine
    from bus.messages.base import Message
    from bus.settings import Settings, VadSettings

TICK_S = 1.0
START_WINDOW_MS = 150


class Vad:
    """An ear for each stream."""

    def __init__(self, runtime: Runtime) -> None:
        """Raise SetupError for settings that contradict each other, and when the engine cannot be had."""
        self._runtime = runtime
        self._settings = runtime.settings.vad
        self._config = segmenter_config(self._settings, runtime.settings.interruption.min_ms)
        self._limits = silence_limits(self._settings)
        self._endpointers = self._open_endpointers()
        self._partial_ms = 0 if runtime.settings.whisper.workers == 1 else self._settings.partial_ms  # it would have to wait for pauses
        self._gate = VoiceGate() if is_half_duplex(runtime.settings) else None
        self._voice = VoiceGate() if is_interruptible(runtime.settings) else None
        self._ears: dict[str, Ear] = {}
        self._short_words: dict[str, ShortWords] = {}  # a question outlives the source: the answer may come from the next
        self._open_engine()  # now, so that one that cannot be had is told of before anyone speaks
        runtime.subscribe(AudioOpened.topic, self._on_opened)
        if self._endpointers or self._partial_ms:
            runtime.subscribe(TranscriptPartial.topic, self._on_partial)
        if self._endpointers:
            runtime.subscribe(TurnFinished.topic, self._on_turn)
        if self._gate is not None or self._voice is not None:
            runtime.subscribe("voice.", self._on_voice)
        runtime.jobs.resend()  # connects to the dispatcher, now: the first pause would not wait for that
        runtime.every(TICK_S, self._tick)
        self._look()

    def close(self) -> None:
        for ear in self._ears.values():
            ear.close()

    def _on_opened(self, message: Message) -> None:
        ear = self._ears.get(message.envelope.stream)
        if ear is None:
            self._look()
        else:
            ear.ask()  # a new source of a known stream: it may have said all it has to say before we were connected

    def _on_partial(self, message: Message) -> None:
        partial, ear = message.body, self._ears.get(message.envelope.stream)
        if ear is not None and isinstance(partial, TranscriptPartial):
            ear.on_partial(message.envelope.turn, partial)

    def _on_turn(self, message: Message) -> None:
        turn = message.body
        if isinstance(turn, TurnFinished):
            self._words_expected(message.envelope.stream).said(turn.record.reply, self._runtime.clock.monotonic_ns())

    def _on_voice(self, message: Message) -> None:
        """The assistant's own voice begins, goes on, or is silent."""
        voice = self._gate or self._voice
        assert voice is not None, "who heeds no voice does not ask for this"
        match message.body:
            case VoiceStarted(at_ns=at_ns):
                voice.sounds(at_ns)
            case VoicePlaying(since_ns=since_ns, at_ns=at_ns):
                voice.sounds(at_ns, since_ns)
            case VoiceFinished(at_ns=at_ns) | VoiceCut(at_ns=at_ns):
                voice.silent(at_ns)

    def _look(self) -> list[str]:
        """Listen to every stream that has a source; return the streams that there are."""
        streams = self._runtime.addresses.audio_streams()
        for stream in streams:
            if stream not in self._ears and self._has_source(stream):
                self._ears[stream] = self._listen(stream)
        return streams

    def _tick(self) -> None:
        """Find new streams: their event may have been lost. Leave those that are over: their source has removed its files. One that
        died leaves them, and is waited for."""
        streams = self._look()
        for stream, ear in list(self._ears.items()):
            if stream in streams or not ear.idle:
                ear.tick()
            else:
                ear.close()
                del self._ears[stream]
        now_ns = self._runtime.clock.monotonic_ns()
        for stream, words in list(self._short_words.items()):
            if stream not in self._ears and not words.is_asked(now_ns):
                del self._short_words[stream]

    def _has_source(self, stream: str) -> bool:
        return is_locked(self._runtime.addresses.audio_file(stream, "lock"))

    def _listen(self, stream: str) -> Ear:
        return Ear(
            self._runtime,
            stream,
            self._config,
            Relay(self._open_engine),
            self._settings.stale_ms,
            policy=Policy(self._limits, self._endpointers) if self._endpointers else None,
            partial_ms=self._partial_ms,
            gate=self._gate if stream == self._runtime.settings.mic.stream else None,
            voice=self._voice,
            short_words=self._words_expected(stream) if self._endpointers else None,
        )

    def _words_expected(self, stream: str) -> ShortWords:
        settings = self._runtime.settings
        phrases = phrases_of(settings.dialogue, settings.whisper.language)
        return self._short_words.setdefault(stream, ShortWords(phrases, settings.dialogue.wake))

    def _open_endpointers(self) -> tuple[Endpointer, ...]:
        """Who judges pauses; nobody where each has the same limit."""
        if self._settings.endpoint == "fixed" or not self._settings.pause_ms:
            return ()
        words = Words(self._runtime.settings.whisper.language)
        if not self._settings.turn_model:
            return (words,)
        from actors.vad.smart_turn import SmartTurn

        return (words, SmartTurn(self._settings.turn_model))

    def _open_engine(self) -> Engine:
        return open_engine(self._settings.engine, self._settings.mode, self._settings.threshold)


def is_half_duplex(settings: Settings) -> bool:
    """Whether the microphone would hear the voice, and nobody takes that away."""
    return settings.speaker.duplex == "half" and settings.hears_itself


def is_interruptible(settings: Settings) -> bool:
    """Whether one may speak into the voice, and what is said in a pause is known."""
    return settings.tts.engine != "none" and settings.speaker.duplex == "full" and settings.vad.pause_ms > 0


def segmenter_config(settings: VadSettings, short_ms: int = 0) -> SegmenterConfig:
    """The settings as the segmenter wants them. Raise SetupError when they contradict each other."""
    endpointing = settings.endpointing
    silence_limit_ms = round(endpointing.silence_limit_s * 1000)
    try:
        return SegmenterConfig(
            min_speech_ms=round(endpointing.minimum_speech_s * 1000),
            silence_limit_ms=silence_limit_ms,
            pre_roll_ms=settings.pre_roll_ms,
            start_ms=settings.start_ms,
            start_window_ms=min(START_WINDOW_MS, silence_limit_ms),
            max_utterance_ms=round(settings.maximum_s * 1000),
            pause_ms=settings.pause_ms,
            short_ms=short_ms,
            skip_after_ms=round(endpointing.unfinished_silence_s * 1000) if settings.endpoint == "text" else 0,
            tail_ms=min(TAIL_MS, settings.pause_ms or TAIL_MS),
        )
    except ValueError as error:
        raise SetupError(f"vad: {error}; change these settings") from error


def silence_limits(settings: VadSettings) -> SilenceLimits:
    """The settings as the policy wants them. Raise SetupError when they contradict each other."""
    endpointing = settings.endpointing
    try:
        return SilenceLimits(
            finished_ms=round(endpointing.finished_silence_s * 1000),
            fixed_ms=round(endpointing.silence_limit_s * 1000),
            unfinished_ms=round(endpointing.unfinished_silence_s * 1000),
        )
    except ValueError as error:
        raise SetupError(f"{error}; change these settings") from error
