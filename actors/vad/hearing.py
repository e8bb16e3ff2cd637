"""Frames to utterances with an engine, and how a successor goes on. Pure but for the engine that is handed in.

A segmenter that is killed has a successor that hears the same utterances, sample for sample. It gets a *note* that went with the
last commit: where segmenting goes on (`Checkpoint`). The source still has the sound from a little before that, with which the
successor's engine comes to the same verdicts (see `relay.py`).

Hints about the silence (`Segmenter.limit_silence`) are the exception: they come when they come, and a successor may draw an end where its
predecessor did not. Then the predecessor's holds, if its utterance is in the spool: what was heard is segmented *again* from there. Where
an utterance begins hangs on the end of the one before it and on the sound alone, so from there on the two agree.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

import msgspec

from actors.vad.relay import Relay
from actors.vad.segmenter import Checkpoint, Event, Paused, Segment, Segmenter, SegmenterConfig
from bus.limits import FRAME_SAMPLES, SAMPLE_RATE_HZ
from bus.messages.base import FrameStart

FURTHEST_SAMPLES = 3600 * SAMPLE_RATE_HZ  # no reader of ours is further from its last commit than `mic.ring_s` may be


def to_note(checkpoint: Checkpoint) -> str:
    """A checkpoint in the few words that go with a commit."""
    return msgspec.json.encode((checkpoint.sample, checkpoint.continuing)).decode()


def from_note(note: str, first_sample: int) -> Checkpoint:
    """Read what `to_note` wrote. Without that, or when the source no longer has what it needs: from the first sample on."""
    try:
        checkpoint = Checkpoint(*msgspec.json.decode(note, type=tuple[FrameStart, bool]))
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return Checkpoint(first_sample)
    return checkpoint if 0 <= checkpoint.sample - first_sample <= FURTHEST_SAMPLES else Checkpoint(first_sample)


@dataclass(frozen=True)
class Told:
    """Something the segmenter said. `captured_ns`: when its last speech frame was captured; 0 where there is none."""

    event: Event
    captured_ns: int = 0


class _Frame(NamedTuple):
    """A frame that may be told of, or segmented again."""

    end_sample: int
    captured_ns: int
    pcm: bytes
    is_speech: bool


class Hearing:
    """Listens to one epoch of one stream."""

    def __init__(self, config: SegmenterConfig, engine: Relay, first_sample: int = 0, note: str = "", *, epoch: str = "") -> None:
        self.epoch = epoch
        self._engine = engine
        self._engine.begin(first_sample)
        self._next_sample = first_sample
        self._config = config
        self._segmenter = Segmenter(config, from_note(note, first_sample))
        self._frames: deque[_Frame] = deque()

    @property
    def is_open(self) -> bool:
        """Whether an utterance is being heard."""
        return self._segmenter.is_open

    @property
    def voiced_ms(self) -> int:
        """How much of the open utterance is speech, pauses left out."""
        return self._segmenter.voiced_ms

    @property
    def silent_ms(self) -> int:
        """How long nobody has spoken in the open utterance; 0 when there is none."""
        return self._segmenter.silent_ms

    @property
    def frames_to_event(self) -> int:
        """The frame, counted from the next as 1, that can make something be told at the earliest."""
        return self._segmenter.frames_to_event

    @property
    def next_sample(self) -> int:
        """How far the stream was heard."""
        return self._next_sample

    @property
    def checkpoint(self) -> Checkpoint:
        """Where a successor would go on."""
        return self._segmenter.checkpoint

    def push(self, pcm: bytes, captured_ns: int) -> list[Told]:
        """Take the next frame."""
        is_speech = self._engine.is_speech(pcm)
        begin = self._next_sample
        self._next_sample = end = begin + FRAME_SAMPLES
        if begin != self._segmenter.next_sample:
            return []  # it lies before the checkpoint, and was for the engine alone
        self._frames.append(_Frame(end, captured_ns, pcm, is_speech))
        return self._tell(self._segmenter.push(begin, pcm, is_speech))

    def gap(self, count: int) -> list[Told]:
        """Take a hole of `count` samples, whole frames, for silence."""
        self._next_sample += count
        self._engine.begin(self._next_sample)
        return self._miss(self._next_sample)

    def flush(self) -> list[Told]:
        """The stream has ended."""
        return self._tell(self._segmenter.flush())

    def limit_silence(self, revision: int, silence_limit_ms: int, *, counts: bool = False) -> list[Told]:
        """Let the present pause be of that length at most, if it is that of this revision. See `Segmenter.limit_silence`."""
        return self._tell(self._segmenter.limit_silence(revision, silence_limit_ms, counts=counts))

    def so_far(self) -> Segment | None:
        """The open utterance up to now; None while nobody speaks."""
        return self._segmenter.so_far()

    def again(self, checkpoint: Checkpoint) -> list[Told]:
        """Segment anew what was heard since `checkpoint`, for all before it is done; hints that were given do not count any more."""
        self._segmenter = Segmenter(self._config, checkpoint)
        told: list[Told] = []
        for frame in self._frames:
            begin = frame.end_sample - FRAME_SAMPLES
            if begin >= self._segmenter.next_sample:
                told += self._miss(begin)
                told += self._tell(self._segmenter.push(begin, frame.pcm, frame.is_speech))
        return told + self._miss(self._next_sample)

    def release(self, sample: int) -> None:
        """Nothing before `sample` will be told of, or segmented again."""
        while self._frames and self._frames[0].end_sample <= sample:
            self._frames.popleft()

    def _miss(self, end_sample: int) -> list[Told]:
        """Take what is missing before `end_sample` for silence."""
        begin = self._segmenter.next_sample
        return self._tell(self._segmenter.gap(begin, end_sample - begin)) if begin < end_sample else []

    def _tell(self, events: list[Event]) -> list[Told]:
        return [Told(event, self._captured_ns(event)) for event in events] if events else []

    def _captured_ns(self, event: Event) -> int:
        segment = event.segment if isinstance(event, Paused) else event
        if not isinstance(segment, Segment):
            return 0
        frames = list(takewhile(lambda frame: frame.end_sample <= segment.speech_end_sample, self._frames))
        return frames[-1].captured_ns if frames else 0
