"""Where an utterance begins and where it ends. Pure: a function of the frames, counted in audio time, never by a clock.

Each frame comes with the engine's verdict, speech or not. The segmenter is *idle* until enough of the latest frames are
speech, then *open* until enough frames in a row are not. All lengths are rounded up to whole frames of 30 ms.

* An utterance opens once `start_ms` of the last `start_window_ms` are speech, so that a click opens nothing. It begins
  `pre_roll_ms` before its first speech frame, but never before the end of the one before it.
* Pauses stay in the audio. After `silence_limit_ms` without speech it closes, and keeps `tail_ms` of that silence.
* Its *speech duration* counts from the first to the last speech frame, pauses included: what a listener with a stopwatch
  would say, and what stands in `Skipped short segment (1.32s < 2.0s)`. Shorter than `min_speech_ms`, it is skipped.
* After `pause_ms` without speech a *pause* is told (`Paused`): with the very segment that follows if nobody speaks again, so that
  work on it can begin while the silence is still being waited out. `Resumed` takes that back. While a pause lasts, whoever knows more
  than the silence may change its limit (`limit_silence`): a hint, which holds until speech comes.
* Of speech that is yet shorter than `min_speech_ms` a pause is told when `short_ms` of it are speech: a hint may have it count.
* Speech that is yet shorter than `min_speech_ms` has `skip_after_ms` of silence to become longer, if that is more than the limit:
  nobody waits for an answer to what is going to be skipped, and it may be the first words of somebody who hesitates.
* At `max_utterance_ms`, pre-roll included, it is cut: in the middle of the longest pause of its last third, else at the
  last frame. What follows goes on at the very next sample as a *continuation*. Neither part of a cut utterance has to
  reach `min_speech_ms`, for they are parts of a long one; a continuation needs the `start_ms` that open an utterance.
* A hole in the stream counts as silence of the same length. A hiccup does not split a sentence and a long hole ends it.

`checkpoint` is all that a successor needs: a new Segmenter with that checkpoint, given the same frames from its sample on,
tells of the same utterances, sample for sample. Hints are not part of it: a successor that gets other hints may draw other ends, and
whoever hands utterances on has to expect that.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice

from bus.limits import FRAME_BYTES, FRAME_MS, FRAME_SAMPLES, MAX_UTTERANCE_S

MIN_PAUSE_FRAMES = 3  # less than 90 ms without speech is a consonant, and no place to cut
TAIL_MS = 90  # with a longer tail, up to 150, the rehearsal model hears no better: docs/performance.md
LONGEST_SILENCE_MS = 5_000  # no hint makes anybody wait longer, unless the silence limit itself is longer


def frames_of(duration_ms: int) -> int:
    """The number of frames that last at least `duration_ms`."""
    return -(-duration_ms // FRAME_MS)


@dataclass(frozen=True)
class SegmenterConfig:
    """How to segment. The presets stand in the settings; these are the numbers of `conversation`."""

    min_speech_ms: int = 1_000
    silence_limit_ms: int = 1_000
    skip_after_ms: int = 0  # no less than silence_limit_ms counts
    pre_roll_ms: int = 300
    start_ms: int = 90
    start_window_ms: int = 150
    tail_ms: int = TAIL_MS
    pause_ms: int = 0  # 0: pauses are not told
    short_ms: int = 0  # 0: none of what is too short
    max_utterance_ms: int = MAX_UTTERANCE_S * 1000

    def __post_init__(self) -> None:
        """Raise ValueError for numbers that contradict each other."""
        if self.start_ms <= 0:
            raise ValueError("segmenter: start_ms must be positive")
        if min(self.min_speech_ms, self.pre_roll_ms, self.tail_ms, self.pause_ms, self.short_ms) < 0:
            raise ValueError("segmenter: min_speech_ms, pre_roll_ms, tail_ms, pause_ms and short_ms must not be negative")
        if self.pause_ms and frames_of(self.tail_ms) > frames_of(self.pause_ms):
            raise ValueError("segmenter: tail_ms must fit into pause_ms, or the pause would be told before its segment is there")
        if not self.start_ms <= self.start_window_ms <= self.silence_limit_ms:
            raise ValueError("segmenter: start_ms must fit into start_window_ms, and that into silence_limit_ms")
        if self.pre_roll_ms + self.start_window_ms > self.max_utterance_ms // 3:
            raise ValueError("segmenter: pre_roll_ms and start_window_ms must fit into a third of max_utterance_ms")


@dataclass(frozen=True)
class Checkpoint:
    """No frame before `sample` will be asked for again. `continuing`: an utterance cut at `sample` goes on there."""

    sample: int = 0
    continuing: bool = False


@dataclass(frozen=True)
class SpeechStarted:
    """An utterance is open. One Segment or Skipped with the same `start_sample` follows, at the latest by `flush`."""

    start_sample: int  # the utterance's first sample, pre-roll included
    speech_start_sample: int


@dataclass(frozen=True)
class Segment:
    """An utterance, or a part of one that was cut at the maximum length. Samples are absolute, ends exclusive."""

    start_sample: int
    end_sample: int
    speech_start_sample: int
    speech_end_sample: int  # the true end of speech, by which the wait for an answer is counted
    voiced_ms: int  # speech frames only; `speech_ms` has the pauses too
    continuing: bool  # it goes on from a segment that ended at `start_sample`
    continues: bool  # the next segment goes on at `end_sample`
    pcm: bytes

    @property
    def speech_ms(self) -> int:
        """From the first to the last speech frame."""
        return (self.speech_end_sample - self.speech_start_sample) // FRAME_SAMPLES * FRAME_MS

    @property
    def revision(self) -> int:
        """Tells this state of the utterance from its earlier and later ones: how many frames there are."""
        return len(self.pcm) // FRAME_BYTES


@dataclass(frozen=True)
class Paused:
    """A pause in an open utterance. If it turns out to be the end, `segment` follows."""

    segment: Segment
    is_short: bool = False
    """It is yet too short, and follows only if a hint has it count."""

    @property
    def start_sample(self) -> int:
        """The utterance's first sample."""
        return self.segment.start_sample


@dataclass(frozen=True)
class Resumed:
    """The speaker goes on after a pause that was told: the end is not yet."""

    start_sample: int


@dataclass(frozen=True)
class Skipped:
    """Something too short to be an utterance: its speech lasted `speech_ms`, less than `minimum_ms`."""

    start_sample: int
    end_sample: int
    speech_start_sample: int
    speech_end_sample: int
    speech_ms: int
    minimum_ms: int


Event = SpeechStarted | Paused | Resumed | Segment | Skipped

_SILENCE = bytes(FRAME_BYTES)


class Segmenter:
    """Frames in, utterances out. See the module's text for the rules."""

    def __init__(self, config: SegmenterConfig, checkpoint: Checkpoint | None = None) -> None:
        checkpoint = checkpoint or Checkpoint()
        self._config = config
        self._window = frames_of(config.start_window_ms)
        self._pre_roll = frames_of(config.pre_roll_ms)
        self._start = frames_of(config.start_ms)
        self._tail = frames_of(config.tail_ms)
        self._pause = frames_of(config.pause_ms)
        self._silence_limit = frames_of(config.silence_limit_ms)
        self._skip_after = max(self._silence_limit, frames_of(config.skip_after_ms))
        self._limit = self._silence_limit  # of the present silence: a hint may have changed it
        self._paused: Segment | None = None  # what was told of the present pause
        self._counts = False  # though it is too short: a hint
        self._max_frames = config.max_utterance_ms // FRAME_MS
        # Both deques hold the same frames, from sample `_base` on: while open all of the utterance, while idle the latest.
        self._base = checkpoint.sample
        self._frames: deque[bytes] = deque()
        self._speech: deque[bool] = deque()
        self._open = self._continuing = checkpoint.continuing
        self._first = self._last = -1  # indexes of the open utterance's first and last speech frame, -1 without any

    @property
    def next_sample(self) -> int:
        """The number of the first sample of the frame that must come next."""
        return self._base + len(self._frames) * FRAME_SAMPLES

    @property
    def checkpoint(self) -> Checkpoint:
        """What to give to a successor."""
        return Checkpoint(self._base, self._continuing)

    @property
    def is_open(self) -> bool:
        """Whether an utterance is being heard."""
        return self._first >= 0

    @property
    def frames_to_event(self) -> int:
        """No frame before this one, counted from the next as 1, can make anything be told: an utterance opens with its `start_ms`."""
        begin = max(0, len(self._speech) - self._window)
        return 1 if self._open else max(1, self._start - sum(islice(self._speech, begin, None)))

    def push(self, first_sample: int, pcm: bytes, is_speech: bool) -> list[Event]:
        """Take one frame of 480 samples and return what it decides, in order.

        Raise ValueError when the frame is not the next one (tell of a hole by `gap`) or not 960 bytes long.
        """
        if first_sample != self.next_sample or len(pcm) != FRAME_BYTES:
            raise ValueError(
                f"segmenter: got {len(pcm)} bytes at sample {first_sample}, needs {FRAME_BYTES} bytes at sample {self.next_sample}"
            )
        self._frames.append(pcm)
        self._speech.append(is_speech)
        return self._listen(is_speech) if self._open else self._wait()

    def gap(self, first_missing: int, count: int) -> list[Event]:
        """Take a hole of `count` samples for silence of the same length.

        Raise ValueError when it does not begin at the next sample or is not made of whole frames.
        """
        if first_missing != self.next_sample or count < 0 or count % FRAME_SAMPLES:
            raise ValueError(f"segmenter: a hole of {count} samples at {first_missing}, but stands at {self.next_sample}")
        end = first_missing + count
        events: list[Event] = []
        while self.next_sample < end:
            if not self._open:
                self._leap(end)
            events += self.push(self.next_sample, _SILENCE, False)
        return events

    def so_far(self) -> Segment | None:
        """The open utterance up to now, all its frames; None while nobody speaks."""
        return self._segment(len(self._frames), self._last, continues=False) if self.is_open else None

    def limit_silence(self, revision: int, silence_limit_ms: int, *, counts: bool = False) -> list[Event]:
        """Let the present pause end the utterance after `silence_limit_ms` in all, and return what that decides at once. `counts`: it is
        an utterance though it is too short for one.

        Nothing happens unless `revision` is that of the pause that was told last and lasts. No limit is shorter than a pause, nor longer
        than LONGEST_SILENCE_MS or, where that is more, the limit of the configuration.
        """
        if self._paused is None or self._paused.revision != revision:
            return []
        longest = max(self._silence_limit, LONGEST_SILENCE_MS // FRAME_MS)
        self._limit = min(max(frames_of(silence_limit_ms), self._pause), longest)
        self._counts = counts
        return self._close() if self._is_over else []

    def flush(self) -> list[Event]:
        """The stream has ended: close what is open. Frames may follow, as after a silence."""
        events = self._close() if self._open else []
        self._base = self.next_sample
        self._frames.clear()
        self._speech.clear()
        return events

    def _wait(self) -> list[Event]:
        """Idle: open when the window holds enough speech, else forget what no pre-roll can reach any more."""
        begin = max(0, len(self._speech) - self._window)
        recent = list(islice(self._speech, begin, None))
        if sum(recent) < self._start:
            self._drop(len(self._frames) - self._window - self._pre_roll)
            return []
        self._drop(begin + recent.index(True) - self._pre_roll)
        self._open = True
        return self._start_speech()

    @property
    def voiced_ms(self) -> int:
        """How much of the open utterance is speech, pauses left out."""
        return sum(islice(self._speech, self._first, None)) * FRAME_MS if self.is_open else 0

    @property
    def silent_ms(self) -> int:
        """How long nobody has spoken in the open utterance; 0 when there is none."""
        return self._silent * FRAME_MS if self.is_open else 0

    @property
    def _silent(self) -> int:
        """How many frames there are since the last speech."""
        return len(self._frames) - 1 - self._last

    def _listen(self, is_speech: bool) -> list[Event]:
        """Open: note speech, close after enough silence, cut at the maximum length, tell of a pause."""
        events: list[Event] = []
        if is_speech:
            if self._first < 0:
                events = self._start_speech()
            self._last = len(self._frames) - 1
            if self._paused is not None:
                events = [Resumed(self._base)]
                self._go_on()
        elif self._is_over:
            return self._close()
        if len(self._frames) >= self._max_frames:
            events = events + self._cut()
        if self._pause and self._silent >= self._pause and self._paused is None:
            events = events + self._rest()
        return events

    def _rest(self) -> list[Event]:
        """The silence is a pause: tell what the utterance would be if this were its end."""
        is_short = self._is_short
        if self._first < 0 or (is_short and not 0 < self._config.short_ms <= self.voiced_ms):
            return []
        self._paused = self._segment(self._end(), self._last, continues=False)
        return [Paused(self._paused, is_short)]

    def _go_on(self) -> None:
        """No pause is told of any more, and no hint holds."""
        self._paused, self._counts = None, False
        self._limit = self._silence_limit

    def _start_speech(self) -> list[Event]:
        """Find the first and the last speech frame of the utterance just opened or just cut off from the one before it."""
        flags = list(self._speech)
        if True not in flags:
            self._first = self._last = -1
            return []
        self._first = self._index_of_first_speech(flags)
        self._last = _last_true(flags)
        return [SpeechStarted(self._base, self._sample(self._first))]

    def _index_of_first_speech(self, flags: list[bool]) -> int:
        """A stray speech frame within the pre-roll is not yet the utterance; a continuation has no pre-roll."""
        return flags.index(True, 0 if self._continuing else max(0, len(flags) - self._window))

    def _end(self) -> int:
        """Where the utterance ends if nothing more is said: the number of its frames, tail included."""
        return min(self._last + 1 + self._tail, len(self._frames))

    @property
    def _minimum_ms(self) -> int:
        return self._config.start_ms if self._continuing else self._config.min_speech_ms

    @property
    def _is_short(self) -> bool:
        """Whether what was said would be skipped."""
        return self._first >= 0 and not self._counts and self._speech_ms(self._last) < self._minimum_ms

    @property
    def _is_over(self) -> bool:
        """Whether there is enough silence for the end."""
        return self._silent >= self._limit and (self._silent >= self._skip_after or not self._is_short)

    def _close(self) -> list[Event]:
        """The silence limit or the end of the stream: tell of the utterance and be idle from its end on."""
        end = self._end()
        if self._paused is not None and not self._is_short:
            events: list[Event] = [self._paused]
        else:
            events = self._tell(end, self._minimum_ms, continues=False) if self._first >= 0 else []
        self._drop(end)
        self._open = self._continuing = False
        self._first = self._last = -1
        self._go_on()
        self._drop(len(self._frames) - self._window - self._pre_roll)
        return events

    def _cut(self) -> list[Event]:
        """The maximum length: end a segment at the best place and stay open from there on."""
        if self._first < 0:  # nothing at all was said since the last cut
            return self._close()
        end = self._cutting_place()
        events = self._tell(end, 0, continues=True)
        self._drop(end)
        self._continuing = True
        self._go_on()
        return events + self._start_speech()

    def _cutting_place(self) -> int:
        """The middle of the longest pause of the last third, of equal ones the last, else the end of what there is."""
        flags = list(self._speech)
        best, best_length, run = len(flags), MIN_PAUSE_FRAMES, 0
        for index in range(max(self._first, len(flags) * 2 // 3), len(flags)):
            run = 0 if flags[index] else run + 1
            if run >= best_length:
                best, best_length = index + 1 - run // 2, run
        return best

    def _tell(self, end: int, minimum_ms: int, continues: bool) -> list[Event]:
        """The utterance's first `end` frames as a segment, or as skipped when its speech is too short."""
        last = _last_true(list(islice(self._speech, end)))
        speech_ms = self._speech_ms(last)
        if speech_ms >= minimum_ms:
            return [self._segment(end, last, continues)]
        where = (self._base, self._sample(end), self._sample(self._first), self._sample(last + 1))
        return [Skipped(*where, speech_ms, minimum_ms)]

    def _speech_ms(self, last: int) -> int:
        """From the first speech frame to frame `last`."""
        return (last + 1 - self._first) * FRAME_MS

    def _segment(self, end: int, last: int, continues: bool) -> Segment:
        """The utterance's first `end` frames, of which `last` is the last speech frame."""
        return Segment(
            start_sample=self._base,
            end_sample=self._sample(end),
            speech_start_sample=self._sample(self._first),
            speech_end_sample=self._sample(last + 1),
            voiced_ms=sum(islice(self._speech, self._first, end)) * FRAME_MS,
            continuing=self._continuing,
            continues=continues,
            pcm=b"".join(islice(self._frames, end)),
        )

    def _leap(self, end: int) -> None:
        """Idle in a long hole: go straight to the last frames before `end` that a pre-roll can still reach."""
        reach = self._window + self._pre_roll
        if end - self.next_sample > reach * FRAME_SAMPLES:
            self._frames.clear()
            self._speech.clear()
            self._base = end - reach * FRAME_SAMPLES

    def _drop(self, count: int) -> None:
        """Forget the oldest `count` frames, if positive; they are committed."""
        for _ in range(count):
            self._frames.popleft()
            self._speech.popleft()
        self._base += max(0, count) * FRAME_SAMPLES

    def _sample(self, index: int) -> int:
        return self._base + index * FRAME_SAMPLES


def _last_true(flags: list[bool]) -> int:
    return len(flags) - 1 - flags[::-1].index(True)
