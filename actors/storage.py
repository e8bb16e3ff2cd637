"""Opening a database on a disk that may be full, read-only or locked: waited for, and told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from bus.errors import StorageTrouble

if TYPE_CHECKING:
    from actors.actor import Runtime

OPENING_S = 60.0
"""For one try: a damaged file is read through and written anew in it."""
RETRY_S = 0.5

Opened = TypeVar("Opened")


def opened(runtime: Runtime, open_: Callable[[], Opened]) -> Opened:
    """What `open_` returns, as soon as it raises no StorageTrouble. Until then the actor is not ready, and says why.

    Waiting here, and not by a restart, keeps the actor clear of the launcher's budget of restarts: a disk may be full for days.
    """
    told = ""
    while True:
        runtime.phases.enter("opening", OPENING_S)
        try:
            found = open_()
        except StorageTrouble as error:
            line = f"{error}; work goes on by itself then"
            if line != told:
                told = line
                runtime.status(told)
                runtime.log.warning(told)
            runtime.nap(RETRY_S)
        else:
            if told:
                runtime.status("")
            return found
