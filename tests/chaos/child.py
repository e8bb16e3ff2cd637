"""What all of them share: a mark for each life, ready, the beat, and an end with the parent."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import time
from pathlib import Path

from bus.notify import Notifier

PR_SET_PDEATHSIG = 1
notifier = Notifier()


def begin() -> int:
    """Leave a mark; return which life of this actor it is, from 1."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    faulthandler.enable()
    incarnation = os.environ["EARSHOT_INCARNATION"]
    name = Path(sys.argv[0]).stem
    with Path(os.environ["EARSHOT_STATE_DIR"], "marks").open("a") as marks:
        marks.write(f"{name} {incarnation} {os.getpid()} {time.monotonic()}\n")
    return int(incarnation.partition(".")[2])


def ready() -> None:
    """Say so until the launcher's queue has room for it: ten datagrams is all that Linux gives it by default."""
    while not notifier.tell(READY="1", WATCHDOG="1", X_EARSHOT_PHASE="idle"):
        time.sleep(0.01)


def live() -> None:
    """Beat until SIGTERM comes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        notifier.tell(WATCHDOG="1", X_EARSHOT_PHASE="idle")
        time.sleep(0.05)
