"""Frames to utterances with an engine, and how a successor goes on. Pure but for the engine that is handed in.

Engines remember: what they say of a frame hangs on what came before. A successor that began with a blank one would draw the
edges of an utterance elsewhere than its predecessor, and one that had been handed on already would become a second turn. So
a *bookmark* goes with each commit. It names the utterances that were decided and not yet acknowledged, which the successor cuts
out by these numbers again, and where segmenting goes on. The sound before it, which the source still has, warms up the engine.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import takewhile

import msgspec

from actors.vad.engines import Engine
from actors.vad.segmenter import Checkpoint, Event, Segment, Segmenter, SegmenterConfig
from bus.limits import FRAME_BYTES, FRAME_SAMPLES

_SILENCE = bytes(FRAME_BYTES)


class Span(msgspec.Struct, frozen=True, array_like=True):
    """A segment without its sound."""

    start_sample: int
    end_sample: int
    speech_start_sample: int
    speech_end_sample: int
    voiced_ms: int
    continuing: bool
    continues: bool

    @classmethod
    def of(cls, segment: Segment) -> Span:
        return cls(*(getattr(segment, name) for name in cls.__struct_fields__))

    def with_pcm(self, pcm: bytes) -> Segment:
        return Segment(**msgspec.structs.asdict(self), pcm=pcm)


class Bookmark(msgspec.Struct, frozen=True, array_like=True):
    """Where a successor goes on: it cuts out what was decided, and segments from `sample` on."""

    sample: int = 0
    continuing: bool = False
    decided: tuple[Span, ...] = ()

    @property
    def oldest_needed(self) -> int:
        """The first sample that a successor needs for its utterances."""
        return min((self.sample, *(span.start_sample for span in self.decided)))

    def to_note(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_note(cls, note: str, first_sample: int) -> Bookmark:
        """Read what `to_note` wrote. Without that, or when the source no longer has what it needs: from the first sample on."""
        try:
            bookmark = msgspec.json.decode(note, type=cls)
        except (msgspec.MsgspecError, UnicodeEncodeError):
            return cls(first_sample)
        left = tuple(span for span in bookmark.decided if span.end_sample > first_sample)
        if bookmark.sample < first_sample:
            return cls(first_sample, decided=left)
        return cls(bookmark.sample, bookmark.continuing, left)


@dataclass(frozen=True)
class Told:
    """Something the segmenter said. `captured_ns`: when its last speech frame was captured; 0 where there is none."""

    event: Event
    captured_ns: int = 0


class Hearing:
    """Listens to one epoch of one stream."""

    def __init__(self, config: SegmenterConfig, engine: Engine, first_sample: int = 0, note: str = "") -> None:
        bookmark = Bookmark.from_note(note, first_sample)
        self._engine = engine
        self._engine.reset()
        self._next_sample = first_sample
        self._segmenter = Segmenter(config, Checkpoint(bookmark.sample, bookmark.continuing))
        self._decided = deque(bookmark.decided)  # by the predecessor, not yet cut out again
        self._cutting: list[bytes] = []  # the frames of the first of them
        self._times: deque[tuple[int, int]] = deque()  # (end sample, when captured) of frames that may yet be told of

    @property
    def is_open(self) -> bool:
        """Whether an utterance is being heard."""
        return self._segmenter.is_open

    @property
    def bookmark(self) -> Bookmark:
        """Where a successor would go on."""
        checkpoint = self._segmenter.checkpoint
        return Bookmark(checkpoint.sample, checkpoint.continuing, tuple(self._decided))

    def push(self, pcm: bytes, captured_ns: int) -> list[Told]:
        """Take the next frame."""
        self._times.append((self._next_sample + FRAME_SAMPLES, captured_ns))
        told = self._step(pcm, self._engine.is_speech(pcm))
        oldest_needed = self.bookmark.oldest_needed
        while self._times and self._times[0][0] <= oldest_needed:
            self._times.popleft()
        return told

    def gap(self, count: int) -> list[Told]:
        """Take a hole of `count` samples, whole frames, for silence."""
        self._engine.reset()
        end = self._next_sample + count
        told: list[Told] = []
        while self._next_sample < min(end, self._segmenter.next_sample):
            told += self._step(_SILENCE, False)
        told += self._tell(self._segmenter.gap(self._next_sample, end - self._next_sample))
        self._next_sample = end
        return told

    def flush(self) -> list[Told]:
        """The stream has ended."""
        return self._tell(self._cut_out() + self._segmenter.flush())

    def _step(self, pcm: bytes, is_speech: bool) -> list[Told]:
        first_sample = self._next_sample
        self._next_sample += FRAME_SAMPLES
        if first_sample == self._segmenter.next_sample:
            return self._tell(self._segmenter.push(first_sample, pcm, is_speech))
        if self._decided and self._decided[0].start_sample <= first_sample:
            self._cutting.append(pcm)
            if self._next_sample >= self._decided[0].end_sample:
                return self._tell(self._cut_out())
        return []

    def _cut_out(self) -> list[Event]:
        if not self._cutting:
            return []
        segment = self._decided.popleft().with_pcm(b"".join(self._cutting))
        self._cutting.clear()
        return [segment]

    def _tell(self, events: list[Event]) -> list[Told]:
        return [Told(event, self._captured_ns(event)) for event in events]

    def _captured_ns(self, event: Event) -> int:
        if not isinstance(event, Segment):
            return 0
        times = list(takewhile(lambda time: time[0] <= event.speech_end_sample, self._times))
        return times[-1][1] if times else 0
