"""One stream heard: frames in, jobs and events out, and a commit only of what is safe with the dispatcher.

In each pause the utterance so far goes to the dispatcher as work ahead of time. If speech goes on it is withdrawn, and if the pause turns
out to be the end, the very same job is submitted and what was done of it counts. The words that come of it meanwhile, and the sound, say
how long the pause may become (`endpoint.py`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from actors.vad.duplex import VoiceGate
from actors.vad.endpoint import Policy
from actors.vad.hearing import Hearing, Told, to_note
from actors.vad.lateness import Lateness
from actors.vad.relay import Relay, warm_up_start
from actors.vad.segmenter import Checkpoint, Paused, Resumed, Segment, SegmenterConfig, Skipped, SpeechStarted, frames_of
from actors.vad.short_words import ShortWords
from bus import timings
from bus.audio import AudioReader, End, Frame, Heard, Missing, NewEpoch
from bus.codec import Stamp
from bus.limits import FRAME_BYTES, FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from bus.losses import Cause
from bus.messages import speech
from bus.messages.audio import AudioGap
from bus.messages.base import Body
from bus.messages.jobs import Job, Transcribe

if TYPE_CHECKING:
    from actors.actor import Runtime
    from actors.timers import Timer

COMMIT_STEP_SAMPLES = SAMPLE_RATE_HZ  # a commit each second is enough while nothing is said
ARRIVAL_MS = 3  # from the capture of a frame until it is here
LATE_NS = 150_000_000
"""A pause that is told later than this is one of long ago: we are catching up, and what is said next is here already."""
JUDGING_S = 5.0  # of a model that takes a tenth of a second on a busy machine
OPENING_NS = 150_000_000
"""An utterance is opened so long after its first sound at the most."""
CONFIRM_EACH_MS = 1_000
"""Of speech that goes on it is told so often that it does."""
SHORT_WORDS_S = 2.0
"""The words of speech that was too short for a turn are wanted for so long after its end."""
SILENCE = bytes(FRAME_BYTES)
CATCHING_UP_S = 5.0
CATCHING_UP_FRAMES = 100  # so many frames take a few milliseconds; the phase begins anew with each lot


@dataclass(frozen=True)
class _Utterance:
    """A segment on its way to the spool."""

    hearing: Hearing
    segment: Segment
    job: Job

    @property
    def checkpoint(self) -> Checkpoint:
        """Where it is found again."""
        return Checkpoint(self.segment.start_sample, self.segment.continuing)


class Ear:
    """Reads one stream and segments it. A turn is named by stream, epoch and sample, so that a successor names it alike."""

    def __init__(
        self,
        runtime: Runtime,
        stream: str,
        config: SegmenterConfig,
        engine: Relay,
        stale_ms: int,
        *,
        policy: Policy | None = None,
        partial_ms: int = 0,
        gate: VoiceGate | None = None,
        voice: VoiceGate | None = None,
        short_words: ShortWords | None = None,
    ) -> None:
        """Without a `policy` every pause has the limit of `config`. Each `partial_ms` of speech is transcribed while it lasts; 0: not.
        What a `gate` shuts out is taken for silence. Speech that is too short for a turn is transcribed while the `voice` sounds, for it
        may be "stop", and is one if it is of the `short_words`."""
        self._runtime = runtime
        self._stream = stream
        self._config = config
        self._engine = engine
        self._reader = AudioReader(
            runtime.context,
            runtime.addresses,
            stream,
            Stamp(runtime.name, runtime.incarnation),
            on_bad=runtime.malformed,
            on_unsent=runtime.unsent,
        )
        self._hearing = Hearing(config, engine)
        self._lateness = Lateness(stale_ms)
        self._policy = policy
        self._gate = gate
        self._voice = voice
        self._short_words = short_words
        self._partial_samples = partial_ms * SAMPLE_RATE_HZ // 1000
        self._next_partial = 0  # the sample at which the utterance so far is to be transcribed; 0: none is
        self._partial_ns = 0  # when that was done last
        self._guess: tuple[str, speech.TranscriptPartial] | None = None  # what came of it last, and of which turn
        self._begun: SpeechStarted | None = None  # of the open utterance
        self._confirm_ms = 0  # with so much speech in it that is told next
        self._short = ""  # the turn that is transcribed though it is too short to be one yet
        self._pause: Segment | None = None  # the present pause, if it was told in time
        self._unaccepted: deque[_Utterance] = deque()  # oldest first
        self._submitting = False  # the oldest is on its way to the dispatcher
        self._committed = 0
        self._noted = 0  # the oldest sample needed, as of the last commit
        self._ended = False
        self._newest_ns = 0  # when the last frame was captured
        self._opened_ns = 0  # and the first of the open utterance, at the latest
        self._resting: Timer | None = None
        for socket in (self._reader.live, self._reader.history):
            runtime.watch(socket, self._read)

    @property
    def idle(self) -> bool:
        """Nothing would be lost if this ear were closed now."""
        return not self._hearing.is_open and not self._unaccepted

    def on_partial(self, turn: str, partial: speech.TranscriptPartial) -> None:
        """What was said of a turn so far is known."""
        pause = self._pause
        if not partial.at_pause:
            self._guess = (turn, partial)
        elif (
            self._policy is not None and pause is not None and (turn, partial.revision) == (self._turn(pause.start_sample), pause.revision)
        ):
            if turn != self._short:
                self._limit_silence(pause, self._policy.read(partial.text, partial.avg_logprob))
            elif self._short_words is not None and not self._voice_sounds and self._policy.is_sure(partial.avg_logprob):
                self._count(pause, partial.text, self._policy, self._short_words)

    def tick(self) -> None:
        """To be called each second."""
        self._reader.tick()

    def ask(self) -> None:
        """The stream has a new source."""
        self._reader.ask()

    def close(self) -> None:
        self._rest(0)
        for socket in (self._reader.live, self._reader.history):
            self._runtime.unwatch(socket)
        self._reader.close()

    def _read(self) -> None:
        for number, heard in enumerate(self._reader.read()):
            if number % CATCHING_UP_FRAMES == 1:
                self._runtime.phases.enter("hearing", CATCHING_UP_S)
            self._hear(heard)
        self._rest(self._quiet_ms())

    def _quiet_ms(self) -> float:
        """How long nothing can happen: while nobody speaks, an utterance cannot begin before some more frames are there."""
        frames = self._hearing.frames_to_event
        if frames == 1 or not self._lateness.at_pace:
            return 0.0
        return frames * FRAME_MS + ARRIVAL_MS - (self._runtime.clock.monotonic_ns() - self._newest_ns) / 1e6

    def _rest(self, quiet_ms: float) -> None:
        """Leave the live frames alone for so long and read them together: to wake costs more than to hear a frame."""
        was_resting, is_resting = self._resting is not None, quiet_ms > 0
        if self._resting is not None:
            self._resting.cancel()
        self._resting = self._runtime.after(quiet_ms / 1000, self._read) if is_resting else None
        if is_resting and not was_resting:
            self._runtime.unwatch(self._reader.live)
        elif was_resting and not is_resting:
            self._runtime.watch(self._reader.live, self._read)

    def _hear(self, heard: Heard) -> None:
        match heard:
            case Frame(pcm=pcm, captured_ns=captured_ns):
                self._newest_ns = captured_ns
                if self._lateness.is_stale(captured_ns, self._runtime.clock.monotonic_ns()):
                    self._runtime.count("frames-stale", stream=self._stream)
                self._tell(self._hearing.push(SILENCE if self._is_voice(captured_ns) else pcm, captured_ns))
                if self._begun is not None:
                    self._confirm(self._begun)
                if self._next_partial and self._hearing.next_sample >= self._next_partial:
                    self._transcribe_so_far(captured_ns)
                self._commit()
            case Missing(samples=samples):
                self._tell_gap(heard)
                self._tell(self._hearing.gap(samples))
            case NewEpoch():
                self._begin_epoch(heard)
            case End():
                self._ended = True
                self._tell(self._hearing.flush())
                self._commit(at_once=True)

    def _is_voice(self, captured_ns: int) -> bool:
        """Whether a frame may have the assistant's own voice in it. An utterance that was open before the voice began is somebody's; one
        that was opened while it sounded, before that was known here, is not."""
        if not self._hearing.is_open:
            self._opened_ns = captured_ns - OPENING_NS
        return (
            self._gate is not None
            and self._gate.is_shut(captured_ns)
            and (not self._hearing.is_open or self._gate.is_shut(self._opened_ns))
        )

    def _tell_gap(self, missing: Missing) -> None:
        untold = missing.samples - missing.told
        if not untold:
            return
        gap = AudioGap(epoch=self._hearing.epoch, first_sample=missing.first_sample, samples=untold, cause=missing.cause)
        self._runtime.publish(gap, stream=self._stream)
        cause: Cause = "audio-restart-ms" if missing.cause == "restart" else "audio-overrun-ms"
        self._runtime.count(cause, untold * 1000 // SAMPLE_RATE_HZ, stream=self._stream)

    def _begin_epoch(self, new: NewEpoch) -> None:
        """A new count of samples. What was being said in the old one ends here: its source died and cannot go on."""
        self._tell(self._hearing.flush())  # it is still on its way to the spool, but there is nobody any more to commit it to
        self._committed = self._noted = new.first_sample
        self._ended = False
        self._pause, self._next_partial = None, 0
        self._hearing = Hearing(self._config, self._engine, new.first_sample, new.note, epoch=new.epoch)

    def _tell(self, told: list[Told], hearing: Hearing | None = None) -> None:
        """Act on what the segmenter said; `hearing` is that of an earlier epoch when it is not the present one."""
        for item in told:
            event = item.event
            turn = self._turn(event.start_sample, hearing)
            match event:
                case SpeechStarted(start_sample=start_sample):
                    self._next_partial = (start_sample + self._partial_samples) if self._partial_samples else 0
                    self._begun, self._confirm_ms = event, self._runtime.settings.interruption.min_ms
                    self._publish(speech.SpeechStarted(first_sample=start_sample), turn)
                case Paused(segment=segment, is_short=is_short):
                    self._on_pause(segment, turn, item.captured_ns, is_short=is_short)
                case Resumed():
                    if self._pause is not None:
                        self._pause = None
                        self._runtime.withdraw(turn)
                case Skipped(start_sample=start_sample, speech_ms=speech_ms, minimum_ms=minimum_ms):
                    self._pause, self._next_partial, self._begun = None, 0, None
                    if turn == self._short:
                        self._runtime.after(SHORT_WORDS_S, partial(self._runtime.withdraw, turn))
                    self._publish(speech.SpeechSkipped(first_sample=start_sample, speech_ms=speech_ms, minimum_ms=minimum_ms), turn)
                case Segment():
                    self._pause, self._next_partial, self._begun = None, 0, None
                    if self._short_words is not None:
                        self._short_words.answered()
                    self._submit(event, turn, item.captured_ns, hearing or self._hearing)

    def _turn(self, start_sample: int, hearing: Hearing | None = None) -> str:
        return f"{self._stream}-{(hearing or self._hearing).epoch}-{start_sample}"

    def _confirm(self, begun: SpeechStarted) -> None:
        """There is enough speech to interrupt somebody, or more of it."""
        voiced_ms, turn = self._hearing.voiced_ms, self._turn(begun.start_sample)
        enough_ms = self._runtime.settings.interruption.min_ms
        if voiced_ms >= self._confirm_ms:
            self._confirm_ms = voiced_ms + CONFIRM_EACH_MS
            self._publish(speech.SpeechConfirmed(first_sample=begun.start_sample, speech_ms=voiced_ms), turn)
        elif voiced_ms >= enough_ms and self._pause_begins:
            # Whoever goes on after it is as much of an interruption as he was before.
            self._confirm_ms = min(self._confirm_ms, voiced_ms + enough_ms)

    @property
    def _pause_begins(self) -> bool:
        """Whether this frame makes the silence a pause."""
        return self._config.pause_ms > 0 and self._hearing.silent_ms == frames_of(self._config.pause_ms) * FRAME_MS

    def _transcribe_so_far(self, captured_ns: int) -> None:
        """Somebody speaks: have what he said so far transcribed, for those who like to see it. Not while we are catching up."""
        now_ns = self._runtime.clock.monotonic_ns()
        self._next_partial = self._hearing.next_sample + self._partial_samples
        is_now = self._lateness.at_pace and now_ns - captured_ns <= LATE_NS
        so_far = self._hearing.so_far() if self._pause is None and is_now else None
        if so_far is not None and now_ns - self._partial_ns >= self._partial_samples * 1_000_000_000 // SAMPLE_RATE_HZ // 2:
            self._partial_ns = now_ns
            self._runtime.speculate(self._with_guess(self._job(so_far, self._turn(so_far.start_sample), {})), so_far.pcm, partial=True)

    def _with_guess(self, job: Job) -> Job:
        """Whisper shows the words on which two partials agree as settled, and any of its workers may get the next."""
        turn, before = self._guess or ("", None)
        if before is None or turn != job.turn:
            return job
        work = msgspec.structs.replace(job.work, guess=before.text, guess_stable_chars=before.stable_chars)
        return msgspec.structs.replace(job, work=work)

    def _on_pause(self, segment: Segment, turn: str, speech_end_ns: int, *, is_short: bool) -> None:
        """A pause: let work on the utterance begin, in case this is its end, unless the sound is of long ago."""
        now_ns = self._runtime.clock.monotonic_ns()
        if is_short and not (self._voice_sounds or (self._short_words is not None and self._short_words.are_expected(now_ns))):
            return
        waited_ns = now_ns - speech_end_ns
        pause_ns = self._config.pause_ms * 1_000_000
        if not self._lateness.at_pace or not pause_ns // 2 <= waited_ns <= pause_ns + LATE_NS:  # faster than it was spoken, or late
            return
        self._pause, self._short = segment, turn if is_short else ""
        self._runtime.speculate(self._job(segment, turn, {timings.SPEECH_END: speech_end_ns}), segment.pcm)
        if self._policy is not None and not is_short:
            self._limit_silence(segment, self._judge(segment, self._policy))

    @property
    def _voice_sounds(self) -> bool:
        """Whether the assistant speaks, and may be interrupted."""
        return self._voice is not None and self._voice.is_shut(self._newest_ns)

    def _count(self, pause: Segment, text: str, policy: Policy, short_words: ShortWords) -> None:
        """Have short words be a turn, if they are those that are expected."""
        if short_words.count(text, self._runtime.clock.monotonic_ns()):
            self._judge(pause, policy)
            self._limit_silence(pause, policy.longest_ms if short_words.wake(text) else policy.read(text), counts=True)

    def _judge(self, pause: Segment, policy: Policy) -> int:
        """The silence limit, ms, that goes with the sound before a pause."""
        with self._runtime.phases.during("judging a pause", JUDGING_S):
            return policy.paused(pause.pcm)

    def _limit_silence(self, pause: Segment, silence_limit_ms: int, *, counts: bool = False) -> None:
        self._tell(self._hearing.limit_silence(pause.revision, silence_limit_ms, counts=counts))
        self._commit()

    def _job(self, segment: Segment, turn: str, marks: dict[str, int]) -> Job:
        work = Transcribe(
            first_sample=segment.start_sample,
            audio_ms=len(segment.pcm) // 2 // FRAME_SAMPLES * FRAME_MS,
            speech_ms=segment.speech_ms,
        )
        return Job(turn=turn, stream=self._stream, work=work, revision=segment.revision, marks=marks)

    def _submit(self, segment: Segment, turn: str, speech_end_ns: int, hearing: Hearing) -> None:
        now_ns = self._runtime.clock.monotonic_ns()
        marks = {timings.COMMITTED: now_ns, timings.SUBMITTED: now_ns}
        if speech_end_ns:
            marks[timings.SPEECH_END] = speech_end_ns
        self._unaccepted.append(_Utterance(hearing, segment, self._job(segment, turn, marks)))
        self._submit_next()

    def _submit_next(self) -> None:
        """One after the other: what becomes of the next may hang on what the dispatcher has of this one."""
        if self._unaccepted and not self._submitting:
            utterance, self._submitting = self._unaccepted[0], True
            self._runtime.submit(utterance.job, utterance.segment.pcm, on_accepted=partial(self._on_accepted, utterance))

    def _on_accepted(self, utterance: _Utterance, revision: int) -> None:
        """The utterance is in the spool, now or already, with as many frames as `revision` says."""
        self._unaccepted.popleft()
        segment = utterance.segment
        ended = speech.SpeechEnded(
            first_sample=segment.start_sample,
            end_sample=segment.start_sample + revision * FRAME_SAMPLES,
            speech_ms=segment.speech_ms,
            cut=segment.continues,
        )
        self._publish(ended, utterance.job.turn)
        if revision != segment.revision:
            self._hear_again(utterance, revision)
        if utterance.hearing is self._hearing:
            self._commit(at_once=True)
        self._submitting = False
        self._submit_next()

    def _hear_again(self, utterance: _Utterance, revision: int) -> None:
        """A predecessor with other hints than ours had ended this utterance elsewhere: go on from there, as it would have."""
        hearing = utterance.hearing
        self._unaccepted = deque(other for other in self._unaccepted if other.hearing is not hearing)
        end_sample = utterance.segment.start_sample + revision * FRAME_SAMPLES
        is_cut = revision >= self._config.max_utterance_ms // FRAME_MS * 2 // 3  # no shorter part of a cut utterance goes on
        told = hearing.again(Checkpoint(end_sample, continuing=is_cut))
        if self._ended or hearing is not self._hearing:
            told += hearing.flush()
        self._tell(told, hearing)

    def _publish(self, body: Body, turn: str) -> None:
        self._runtime.publish(body, turn=turn, stream=self._stream)

    def _commit(self, at_once: bool = False) -> None:
        """Commit all that a successor will not need: for its utterances, or, while the stream lasts, to warm up its engine."""
        unaccepted = (utterance.checkpoint for utterance in self._unaccepted if utterance.hearing is self._hearing)
        checkpoint = next(unaccepted, self._hearing.checkpoint)
        self._hearing.release(checkpoint.sample)
        if not at_once and checkpoint.sample - self._noted < COMMIT_STEP_SAMPLES:
            return
        self._noted = checkpoint.sample
        is_over = self._ended and not self._unaccepted
        self._committed = max(self._committed, checkpoint.sample if is_over else warm_up_start(checkpoint.sample))
        self._reader.commit(self._committed, to_note(checkpoint))
