"""A worker of the queue `stt` that writes its own name where the words should be, and in its first life hangs in the way that $HANG
names: on its first job, or, as `stop`, when it is to end."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from actors.actor import Runtime
from bus.jobs import Lease
from bus.messages.jobs import Heard, Job

DECODING_S = 1.0


class Hanger:
    """Does its work when it does not hang."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._way = os.environ.get("HANG", "") if is_first_life() else ""
        runtime.work("stt", self._on_lease)

    def close(self) -> None:
        if self._way == "stop":
            begin_to_hang()
            wait_for_a_thread_that_never_ends()

    def _on_lease(self, lease: Lease) -> None:
        hangs: dict[str, Callable[[], None]] = {
            "sigstop": be_stopped,
            "busy": count_for_ever,
            "gil": sleep_in_native_code_with_the_gil,
            "lock": wait_for_a_lock_that_nobody_gives_back,
            "decode": lambda: decode_for_ever(self._runtime),
        }
        if self._way in hangs:
            begin_to_hang()
            hangs[self._way]()
        lease.done([Job(turn=lease.job.turn, stream=lease.job.stream, work=Heard(transcript=self._runtime.name))])


def is_first_life() -> bool:
    return os.environ["EARSHOT_INCARNATION"].endswith(".1")


def begin_to_hang() -> None:
    """Leave a mark: who hangs, and since when by the wall clock."""
    Path(os.environ["EARSHOT_STATE_DIR"], "hangs").write_text(f"{os.environ['EARSHOT_INCARNATION']} {time.time()}")


def be_stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    threading.Event().wait()  # or it might end its job while another thread writes the stacks


def count_for_ever() -> None:
    count = 0
    while True:
        count += 1


def sleep_in_native_code_with_the_gil() -> None:
    ctypes.PyDLL(None).sleep(3600)


def wait_for_a_lock_that_nobody_gives_back() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def decode_for_ever(runtime: Runtime) -> None:
    """As a model does: in native code that has given the interpreter's lock back."""
    with runtime.phases.during("transcribing", DECODING_S):
        ctypes.CDLL(None).sleep(3600)


def wait_for_a_thread_that_never_ends() -> None:
    threading.Event().wait()
