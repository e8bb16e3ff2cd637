"""One stream heard: frames in, jobs and events out, and a commit only of what is safe with the dispatcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.vad.hearing import Hearing, Told, to_note
from actors.vad.lateness import Lateness
from actors.vad.relay import Relay, warm_up_start
from actors.vad.segmenter import Checkpoint, Segment, SegmenterConfig, Skipped, SpeechStarted
from bus import timings
from bus.audio import AudioReader, End, Frame, Heard, Missing, NewEpoch
from bus.codec import Stamp
from bus.limits import FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from bus.losses import Cause
from bus.messages import speech
from bus.messages.audio import AudioGap
from bus.messages.jobs import Job, Transcribe

if TYPE_CHECKING:
    from actors.actor import Runtime
    from actors.timers import Timer

COMMIT_STEP_SAMPLES = SAMPLE_RATE_HZ  # a commit each second is enough while nothing is said
ARRIVAL_MS = 3  # from the capture of a frame until it is here
CATCHING_UP_S = 5.0
CATCHING_UP_FRAMES = 100  # so many frames take a few milliseconds; the phase begins anew with each lot


class Ear:
    """Reads one stream and segments it. A turn is named by stream, epoch and sample, so that a successor names it alike."""

    def __init__(self, runtime: Runtime, stream: str, config: SegmenterConfig, engine: Relay, stale_ms: int) -> None:
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
        self._epoch = ""
        self._unaccepted: dict[str, Checkpoint] = {}  # turns on their way to the spool, oldest first, and where each is found again
        self._committed = 0
        self._noted = 0  # the oldest sample needed, as of the last commit
        self._ended = False
        self._newest_ns = 0  # when the last frame was captured
        self._resting: Timer | None = None
        for socket in (self._reader.live, self._reader.history):
            runtime.watch(socket, self._read)

    @property
    def idle(self) -> bool:
        """Nothing would be lost if this ear were closed now."""
        return not self._hearing.is_open and not self._unaccepted

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
                self._tell(self._hearing.push(pcm, captured_ns))
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

    def _tell_gap(self, missing: Missing) -> None:
        untold = missing.samples - missing.told
        if not untold:
            return
        gap = AudioGap(epoch=self._epoch, first_sample=missing.first_sample, samples=untold, cause=missing.cause)
        self._runtime.publish(gap, stream=self._stream)
        cause: Cause = "audio-restart-ms" if missing.cause == "restart" else "audio-overrun-ms"
        self._runtime.count(cause, untold * 1000 // SAMPLE_RATE_HZ, stream=self._stream)

    def _begin_epoch(self, new: NewEpoch) -> None:
        """A new count of samples. What was being said in the old one ends here: its source died and cannot go on."""
        self._tell(self._hearing.flush())
        self._epoch = new.epoch
        self._unaccepted.clear()  # still on their way, but there is nobody any more to commit them to
        self._committed = self._noted = new.first_sample
        self._ended = False
        self._hearing = Hearing(self._config, self._engine, new.first_sample, new.note)

    def _tell(self, told: list[Told]) -> None:
        for item in told:
            event = item.event
            turn = f"{self._stream}-{self._epoch}-{event.start_sample}"
            match event:
                case SpeechStarted(start_sample=start_sample):
                    self._publish(speech.SpeechStarted(first_sample=start_sample), turn)
                case Skipped(start_sample=start_sample, speech_ms=speech_ms, minimum_ms=minimum_ms):
                    self._publish(speech.SpeechSkipped(first_sample=start_sample, speech_ms=speech_ms, minimum_ms=minimum_ms), turn)
                case Segment():
                    self._submit(event, turn, item.captured_ns)

    def _submit(self, segment: Segment, turn: str, speech_end_ns: int) -> None:
        marks = {timings.COMMITTED: self._runtime.clock.monotonic_ns()}
        if speech_end_ns:
            marks[timings.SPEECH_END] = speech_end_ns
        self._unaccepted[turn] = Checkpoint(segment.start_sample, segment.continuing)
        work = Transcribe(
            first_sample=segment.start_sample,
            audio_ms=len(segment.pcm) // 2 // FRAME_SAMPLES * FRAME_MS,
            speech_ms=segment.speech_ms,
        )
        marks[timings.SUBMITTED] = self._runtime.clock.monotonic_ns()
        job = Job(turn=turn, stream=self._stream, work=work, revision=segment.revision, marks=marks)
        self._runtime.submit(job, segment.pcm, on_accepted=self._when_accepted(segment, turn))

    def _when_accepted(self, segment: Segment, turn: str) -> Callable[[int], None]:
        ended = speech.SpeechEnded(
            first_sample=segment.start_sample,
            end_sample=segment.end_sample,
            speech_ms=segment.speech_ms,
            cut=segment.continues,
        )

        def accepted(_revision: int) -> None:
            self._publish(ended, turn)
            if self._unaccepted.pop(turn, None) is not None:
                self._commit(at_once=True)

        return accepted

    def _publish(self, body: speech.SpeechStarted | speech.SpeechSkipped | speech.SpeechEnded, turn: str) -> None:
        self._runtime.publish(body, turn=turn, stream=self._stream)

    def _commit(self, at_once: bool = False) -> None:
        """Commit all that a successor will not need: for its utterances, or, while the stream lasts, to warm up its engine."""
        checkpoint = next(iter(self._unaccepted.values()), self._hearing.checkpoint)
        if not at_once and checkpoint.sample - self._noted < COMMIT_STEP_SAMPLES:
            return
        self._noted = checkpoint.sample
        is_over = self._ended and not self._unaccepted
        self._committed = max(self._committed, checkpoint.sample if is_over else warm_up_start(checkpoint.sample))
        self._reader.commit(self._committed, to_note(checkpoint))
