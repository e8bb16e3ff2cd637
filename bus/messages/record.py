"""What the command line and the recorder say to each other, as events."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from msgspec import Meta

from bus.messages.base import Body, Count, Line, Name

REPEAT_S: Final = 2.0
"""So often does somebody who waits for the end of the recording repeat `record.start`."""
ABSENT_S: Final = 10.0
"""After so long without it the recording is ended: whoever began it was killed."""
MAX_FILES: Final = 100
"""Of one recording: their names have to fit into one message."""


class RecordStart(Body, frozen=True, kw_only=True):
    """Record everything into a file, from now on. Answered with `record.state`."""

    topic: ClassVar[str] = "record.start"
    path: Line
    """Absolute; the file must not be there yet."""
    sound: bool = True
    text: bool = True
    """Whether what was said goes into the file."""
    attended: bool = False
    """The recording ends when this is not repeated any more. Otherwise it goes on until `record.stop`."""


class RecordStop(Body, frozen=True, kw_only=True):
    """Finish the file. Answered with `record.state`."""

    topic: ClassVar[str] = "record.stop"


class RecordState(Body, frozen=True, kw_only=True):
    """How it stands with the recording that was asked for."""

    topic: ClassVar[str] = "record.state"
    state: Name
    """`recording`, `done`, `failed`, `busy`: another recording goes on, or `off`: nothing is being recorded."""
    path: Line = ""
    """The file that was asked for."""
    more: Annotated[list[Line], Meta(max_length=MAX_FILES)] = []  # noqa: RUF012 (msgspec copies it)
    """The files after it, where the recorder was started again meanwhile."""
    missing_ms: Count = 0
    """What was not recorded between these files, in all."""
    detail: Line = ""
    """Why it failed, for the user."""
    messages: Count = 0
    """In the last of the files."""
    size_bytes: Count = 0
    """Of all files."""
