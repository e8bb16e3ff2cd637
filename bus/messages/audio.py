"""The audio plane, and the events about it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from bus.limits import HISTORY_CHUNK_FRAMES, MAX_COUNT, MAX_NAME_CHARS
from bus.messages.base import Body, Count, FrameStart, Line, Name, Nanoseconds

Epoch = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
Note = Annotated[str, Meta(max_length=65_536)]
"""Of a reader for its successor. Longer than any that ours writes: some 100 bytes for each utterance of the last minute."""


class AudioFrame(Body, frozen=True, kw_only=True):
    """Live sound. The payload is mono int16 PCM at 16 kHz, 480 samples; empty in the last frame of a stream."""

    topic: ClassVar[str] = "audio.frame"
    epoch: Epoch
    """One count of samples; a new epoch counts from 0 again."""
    first_sample: FrameStart
    captured_ns: Nanoseconds
    """Monotonic time at which the last sample of this frame was captured."""
    last: bool = False
    """The stream ends before `first_sample`; there is no payload."""


class AudioSince(Body, frozen=True, kw_only=True):
    """A reader asks the source for what it holds."""

    topic: ClassVar[str] = "audio.since"
    epoch: Name = ""
    """Empty: whatever epoch there is now. Another than the source's: the answer begins at its oldest sample."""
    first_sample: Annotated[int, Meta(ge=-1, le=MAX_COUNT)] = -1
    """The first sample wanted; -1: the one after the last commit."""


class AudioHistory(Body, frozen=True, kw_only=True):
    """The answer: some frames. The payload is their PCM, one after the other. The reader asks again for more."""

    topic: ClassVar[str] = "audio.history"
    epoch: Epoch
    first_sample: FrameStart
    """Of the payload. Later than what was asked for: the ring no longer holds what lies between."""
    captured_ns: Annotated[list[Nanoseconds], Meta(max_length=HISTORY_CHUNK_FRAMES)]
    """For each 480-sample frame of the payload, when its last sample was captured."""
    newest_sample: FrameStart
    """One past the newest sample that the source has captured."""
    committed_sample: FrameStart
    """The last commit, so that a new reader can go on where its predecessor was."""
    note: Note
    """What the committing reader left with it."""
    ended: bool
    """The stream ends at `newest_sample`."""
    hole_sample: FrameStart = 0
    """Where the newest hole begins that is longer than the ring: no sound was captured, and the source has told of it."""
    hole_samples: FrameStart = 0
    """Its length; 0: there was none."""
    died_epoch: Name = ""
    """The epoch of a predecessor that was killed, whose ring died with it; empty: there was none."""
    died_sample: FrameStart = 0
    """One past the newest sample that it had captured."""


class AudioCommit(Body, frozen=True, kw_only=True):
    """The reader has finished with everything before `sample`."""

    topic: ClassVar[str] = "audio.commit"
    epoch: Epoch
    sample: FrameStart
    note: Note = ""
    """A few words of the reader's own, handed to its successor with the sample."""


class AudioOpened(Body, frozen=True, kw_only=True):
    """A source has begun: look for it in the runtime directory."""

    topic: ClassVar[str] = "audio.opened"
    epoch: Epoch
    source: Line
    """What is captured, for people: a device name or a file name."""


class AudioGap(Body, frozen=True, kw_only=True):
    """Samples that nobody will ever hear."""

    topic: ClassVar[str] = "audio.gap"
    epoch: Epoch
    first_sample: Count
    samples: Count
    cause: Name
    """`overrun` (the ring was passed), `device` (the device stalled or was away), `restart` (the source was killed: what fell while
    it was being started again, and what had not been read of its ring)."""


class AudioClosed(Body, frozen=True, kw_only=True):
    """A source has ended and all of it was committed."""

    topic: ClassVar[str] = "audio.closed"
    epoch: Epoch
    samples: Count
