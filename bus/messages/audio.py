"""The audio plane, and the events about it."""

from __future__ import annotations

from typing import ClassVar

from bus.messages.base import Body


class AudioFrame(Body, frozen=True, kw_only=True):
    """Live sound. The payload is mono int16 PCM at 16 kHz, 480 samples; empty in the last frame of a stream."""

    topic: ClassVar[str] = "audio.frame"
    epoch: str
    """One count of samples; a new epoch counts from 0 again."""
    first_sample: int
    captured_ns: int
    """Monotonic time at which the last sample of this frame was captured."""
    last: bool = False
    """The stream ends before `first_sample`; there is no payload."""


class AudioSince(Body, frozen=True, kw_only=True):
    """A reader asks the source for what it holds."""

    topic: ClassVar[str] = "audio.since"
    epoch: str = ""
    """Empty: whatever epoch there is now. Another than the source's: the answer begins at its oldest sample."""
    first_sample: int = -1
    """The first sample wanted; -1: the one after the last commit."""


class AudioHistory(Body, frozen=True, kw_only=True):
    """The answer: some frames. The payload is their PCM, one after the other. The reader asks again for more."""

    topic: ClassVar[str] = "audio.history"
    epoch: str
    first_sample: int
    """Of the payload. Later than what was asked for: the ring no longer holds what lies between."""
    captured_ns: list[int]
    """For each 480-sample frame of the payload, when its last sample was captured."""
    newest_sample: int
    """One past the newest sample that the source has captured."""
    committed_sample: int
    """The last commit, so that a new reader can go on where its predecessor was."""
    note: str
    """What the committing reader left with it."""
    ended: bool
    """The stream ends at `newest_sample`."""
    hole_sample: int = 0
    """Where the newest hole begins that is longer than the ring: no sound was captured, and the source has told of it."""
    hole_samples: int = 0
    """Its length; 0: there was none."""
    died_epoch: str = ""
    """The epoch of a predecessor that was killed, whose ring died with it; empty: there was none."""
    died_sample: int = 0
    """One past the newest sample that it had captured."""


class AudioCommit(Body, frozen=True, kw_only=True):
    """The reader has finished with everything before `sample`."""

    topic: ClassVar[str] = "audio.commit"
    epoch: str
    sample: int
    note: str = ""
    """A few words of the reader's own, handed to its successor with the sample."""


class AudioOpened(Body, frozen=True, kw_only=True):
    """A source has begun: look for it in the runtime directory."""

    topic: ClassVar[str] = "audio.opened"
    epoch: str
    source: str
    """What is captured, for people: a device name or a file name."""


class AudioGap(Body, frozen=True, kw_only=True):
    """Samples that nobody will ever hear."""

    topic: ClassVar[str] = "audio.gap"
    epoch: str
    first_sample: int
    samples: int
    cause: str
    """`overrun` (the ring was passed), `device` (the device stalled or was away), `restart` (the source was killed: what fell while
    it was being started again, and what had not been read of its ring)."""


class AudioClosed(Body, frozen=True, kw_only=True):
    """A source has ended and all of it was committed."""

    topic: ClassVar[str] = "audio.closed"
    epoch: str
    samples: int
