"""Frames to utterances with an engine, and how a successor goes on. Pure but for the engine that is handed in.

A segmenter that is killed has a successor that hears the same utterances, sample for sample. It gets a *note* that went with the
last commit: where segmenting goes on (`Checkpoint`). The source still has the sound from a little before that, with which the
successor's engine comes to the same verdicts (see `relay.py`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import takewhile

import msgspec

from actors.vad.relay import Relay
from actors.vad.segmenter import Checkpoint, Event, Segment, Segmenter, SegmenterConfig
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


class Hearing:
    """Listens to one epoch of one stream."""

    def __init__(self, config: SegmenterConfig, engine: Relay, first_sample: int = 0, note: str = "") -> None:
        self._engine = engine
        self._engine.begin(first_sample)
        self._next_sample = first_sample
        self._segmenter = Segmenter(config, from_note(note, first_sample))
        self._times: deque[tuple[int, int]] = deque()  # (end sample, when captured) of frames that may yet be told of

    @property
    def is_open(self) -> bool:
        """Whether an utterance is being heard."""
        return self._segmenter.is_open

    @property
    def frames_to_event(self) -> int:
        """The frame, counted from the next as 1, that can make something be told at the earliest."""
        return self._segmenter.frames_to_event

    @property
    def checkpoint(self) -> Checkpoint:
        """Where a successor would go on."""
        return self._segmenter.checkpoint

    def push(self, pcm: bytes, captured_ns: int) -> list[Told]:
        """Take the next frame."""
        self._times.append((self._next_sample + FRAME_SAMPLES, captured_ns))
        is_speech = self._engine.is_speech(pcm)
        told: list[Told] = []
        if self._next_sample == self._segmenter.next_sample:  # else it lies before the checkpoint, and was for the engine alone
            told = self._tell(self._segmenter.push(self._next_sample, pcm, is_speech))
        self._next_sample += FRAME_SAMPLES
        while self._times and self._times[0][0] <= self._segmenter.checkpoint.sample:
            self._times.popleft()
        return told

    def gap(self, count: int) -> list[Told]:
        """Take a hole of `count` samples, whole frames, for silence."""
        self._next_sample += count
        self._engine.begin(self._next_sample)
        begin = self._segmenter.next_sample
        return self._tell(self._segmenter.gap(begin, self._next_sample - begin)) if begin < self._next_sample else []

    def flush(self) -> list[Told]:
        """The stream has ended."""
        return self._tell(self._segmenter.flush())

    def _tell(self, events: list[Event]) -> list[Told]:
        return [Told(event, self._captured_ns(event)) for event in events]

    def _captured_ns(self, event: Event) -> int:
        if not isinstance(event, Segment):
            return 0
        times = list(takewhile(lambda time: time[0] <= event.speech_end_sample, self._times))
        return times[-1][1] if times else 0
