"""What the command line and the recorder say to each other, as events."""

from __future__ import annotations

from typing import ClassVar

from bus.messages.base import Body, Count, Line, Name


class RecordStart(Body, frozen=True, kw_only=True):
    """Record everything into a file, from now on. Answered with `record.state`."""

    topic: ClassVar[str] = "record.start"
    path: Line
    """Absolute; the file must not be there yet."""
    sound: bool = True
    text: bool = True
    """Whether what was said goes into the file."""


class RecordStop(Body, frozen=True, kw_only=True):
    """Finish the file. Answered with `record.state`."""

    topic: ClassVar[str] = "record.stop"


class RecordState(Body, frozen=True, kw_only=True):
    """How it stands with the recording that was asked for."""

    topic: ClassVar[str] = "record.state"
    state: Name
    """`recording`, `done`, `failed`, or `off`: nothing is being recorded."""
    path: Line = ""
    detail: Line = ""
    """Why it failed, for the user."""
    messages: Count = 0
    size_bytes: Count = 0
    lost: Count = 0
    """Events that the recorder missed meanwhile."""
