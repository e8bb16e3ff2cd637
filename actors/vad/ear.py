"""One stream heard: frames in, jobs and events out, and a commit only of what is safe with the dispatcher."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.vad.segmenter import Checkpoint, Event, Segment, Segmenter, SegmenterConfig, Skipped, SpeechStarted
from bus import timings
from bus.audio import AudioReader, End, Frame, Heard, Missing, NewEpoch
from bus.codec import Stamp
from bus.limits import FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from bus.messages import speech
from bus.messages.audio import AudioGap
from bus.messages.jobs import Job, Transcribe

if TYPE_CHECKING:
    from actors.actor import Runtime
    from actors.vad.engines import Engine

COMMIT_STEP_SAMPLES = SAMPLE_RATE_HZ  # a commit each second is enough while nothing is said
CATCHING_UP_S = 5.0
CATCHING_UP_FRAMES = 100  # so many frames take a few milliseconds; the phase begins anew with each lot
CONTINUING = "continuing"  # the note of a commit at which an utterance was cut


class Ear:
    """Reads one stream and segments it. A turn is named by stream, epoch and sample, so that a successor names it alike."""

    def __init__(self, runtime: Runtime, stream: str, config: SegmenterConfig, engine: Engine) -> None:
        self._runtime = runtime
        self._stream = stream
        self._config = config
        self._engine = engine
        self._reader = AudioReader(runtime.context, runtime.addresses, stream, Stamp(runtime.name, runtime.incarnation))
        self._segmenter = Segmenter(config)
        self._epoch = ""
        self._speech_ends: deque[tuple[int, int]] = deque()  # (end sample, when captured) of speech frames not yet told of
        self._unaccepted: dict[str, Checkpoint] = {}  # turns on their way to the spool, oldest first: where each begins
        self._committed = Checkpoint()
        for socket in (self._reader.live, self._reader.history):
            runtime.watch(socket, self._read)

    @property
    def idle(self) -> bool:
        """Nothing would be lost if this ear were closed now."""
        return not self._segmenter.is_open and not self._unaccepted

    def tick(self) -> None:
        """To be called each second."""
        self._reader.tick()

    def close(self) -> None:
        for socket in (self._reader.live, self._reader.history):
            self._runtime.unwatch(socket)
        self._reader.close()

    def _read(self) -> None:
        for number, heard in enumerate(self._reader.read()):
            if number % CATCHING_UP_FRAMES == 0:
                self._runtime.phases.enter("hearing", CATCHING_UP_S)
            self._hear(heard)

    def _hear(self, heard: Heard) -> None:
        match heard:
            case Frame():
                self._hear_frame(heard)
            case Missing(first_sample=first_sample, samples=samples):
                gap = AudioGap(epoch=self._epoch, first_sample=first_sample, samples=samples, cause="overrun")
                self._runtime.publish(gap, stream=self._stream)
                self._engine.reset()
                self._tell(self._segmenter.gap(first_sample, samples))
            case NewEpoch():
                self._begin_epoch(heard)
            case End():
                self._tell(self._segmenter.flush())
                self._commit(at_once=True)

    def _hear_frame(self, frame: Frame) -> None:
        is_speech = self._engine.is_speech(frame.pcm)
        if is_speech:
            self._speech_ends.append((frame.first_sample + FRAME_SAMPLES, frame.captured_ns))
        self._tell(self._segmenter.push(frame.first_sample, frame.pcm, is_speech))
        while self._speech_ends and self._speech_ends[0][0] <= self._segmenter.checkpoint.sample:
            self._speech_ends.popleft()
        self._commit()

    def _begin_epoch(self, new: NewEpoch) -> None:
        """A new count of samples. What was being said in the old one ends here: its source died and cannot go on."""
        self._tell(self._segmenter.flush())
        self._epoch = new.epoch
        self._unaccepted.clear()  # still on their way, but there is nobody any more to commit them to
        self._speech_ends.clear()
        self._engine.reset()
        self._committed = Checkpoint(new.first_sample, continuing=new.note == CONTINUING)
        self._segmenter = Segmenter(self._config, self._committed)

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            turn = f"{self._stream}-{self._epoch}-{event.start_sample}"
            match event:
                case SpeechStarted():
                    self._publish(speech.SpeechStarted(first_sample=event.start_sample), turn)
                case Skipped():
                    body = speech.SpeechSkipped(first_sample=event.start_sample, speech_ms=event.speech_ms, minimum_ms=event.minimum_ms)
                    self._publish(body, turn)
                case Segment():
                    self._submit(event, turn)

    def _submit(self, segment: Segment, turn: str) -> None:
        committed_ns = self._runtime.clock.monotonic_ns()
        work = Transcribe(
            first_sample=segment.start_sample,
            audio_ms=(segment.end_sample - segment.start_sample) // FRAME_SAMPLES * FRAME_MS,
            speech_ms=segment.speech_ms,
        )
        marks = {timings.COMMITTED: committed_ns, timings.SUBMITTED: self._runtime.clock.monotonic_ns()}
        for end_sample, captured_ns in self._speech_ends:
            if end_sample == segment.speech_end_sample:
                marks[timings.SPEECH_END] = captured_ns
        self._unaccepted[turn] = Checkpoint(segment.start_sample, segment.continuing)
        job = Job(turn=turn, stream=self._stream, work=work, marks=marks)
        self._runtime.submit(job, segment.pcm, on_accepted=self._when_accepted(segment, turn))

    def _when_accepted(self, segment: Segment, turn: str) -> Callable[[], None]:
        ended = speech.SpeechEnded(
            first_sample=segment.start_sample,
            end_sample=segment.end_sample,
            speech_ms=segment.speech_ms,
            cut=segment.continues,
        )

        def accepted() -> None:
            self._publish(ended, turn)
            if self._unaccepted.pop(turn, None) is not None:
                self._commit(at_once=True)

        return accepted

    def _publish(self, body: speech.SpeechStarted | speech.SpeechSkipped | speech.SpeechEnded, turn: str) -> None:
        self._runtime.publish(body, turn=turn, stream=self._stream)

    def _commit(self, at_once: bool = False) -> None:
        """Commit all that is neither needed by the segmenter nor on its way to the spool."""
        checkpoint = next(iter(self._unaccepted.values()), self._segmenter.checkpoint)
        if at_once or checkpoint.sample - self._committed.sample >= COMMIT_STEP_SAMPLES:
            self._committed = checkpoint
            self._reader.commit(checkpoint.sample, CONTINUING if checkpoint.continuing else "")
