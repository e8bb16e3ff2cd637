"""When something happened, so that its age can be told later: also by another process, after a restart of the machine, and although
the clock was set meanwhile."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Moment(NamedTuple):
    """A point in time on two clocks."""

    boot: str
    """Names one run of the machine; empty where that is not known."""
    boot_ns: int
    """CLOCK_BOOTTIME: since that run began, sleep included. Nobody can set it."""
    wall_ns: int
    """Since 1970, by the clock that people read; it may have been set meanwhile."""


def this_moment() -> Moment:
    """Now."""
    return Moment(_boot(), time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns())


@cache
def _boot() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def age_s(then: Moment, now: Moment) -> float | None:
    """Seconds from `then` to `now`; None when that cannot be known.

    Within one run of the machine CLOCK_BOOTTIME decides, whatever was done to the wall clock. Over a restart of the machine only
    the wall clock is left: an age that it makes negative is not known, and none is less than the time the machine has been up.
    """
    if then.boot and then.boot == now.boot:
        return max(0.0, (now.boot_ns - then.boot_ns) / 1e9)
    elapsed_s = (now.wall_ns - then.wall_ns) / 1e9
    if elapsed_s < 0:
        return None
    return max(elapsed_s, now.boot_ns / 1e9 if then.boot and now.boot else 0.0)
