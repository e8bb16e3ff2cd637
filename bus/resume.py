"""Which open turns of an earlier run are taken up, and which are too old. Pure.

Somebody who starts the assistant in the morning does not want to hear an answer to what was asked last night. What is too old, or of
an age that cannot be known, is kept and can be tried again by hand: that can be mended later, words out of the blue cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bus.messages.jobs import Answered, Parked, Remember, Say
from bus.moments import Moment, age_s
from bus.spool import Stored


class Limit(NamedTuple):
    """What a new start takes up."""

    run: str
    """Names this run of the assistant: a dispatcher that is restarted within it goes on with everything."""
    max_age_s: float


def left_behind(stored: Sequence[Stored], last_run: str, limit: Limit, now: Moment) -> list[Stored]:
    """The open jobs whose turns are too old for a run that begins `now`."""
    if last_run == limit.run:
        return []
    return [each for each in stored if _would_be_heard(each) and not _is_young(each, limit, now)]


def _is_young(stored: Stored, limit: Limit, now: Moment) -> bool:
    age = age_s(stored.born, now)
    return age is not None and age <= limit.max_age_s


def _would_be_heard(stored: Stored) -> bool:
    """Whether the rest of the turn says something. A turn that was answered is only kept."""
    match stored.job.work:
        case Answered() | Remember():
            return False
        case Parked(aloud=aloud):
            return aloud
    return True


def is_answered(stored: Stored) -> bool:
    """Whether the user has had the answer, on the screen, and it was only to be spoken."""
    return isinstance(stored.job.work, Say)
