"""`python -m chaos.bad_workers KIND`: transcribers that hear as well as the others, and misbehave in every third job.

They run beside the real ones and take a share of the jobs. Nobody may notice but the dispatcher.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from actors.__main__ import main
from actors.registry import ACTORS
from actors.whisper.actor import Whisper
from bus.codec import Stamp
from bus.messages.jobs import Heard, Job, JobDone, JobFailed

if TYPE_CHECKING:
    from actors.actor import Runtime
    from bus.jobs import Lease, LeaseHandler

EVERY: Final = 3
LATE_S: Final = 5.0


class BadWhisper:
    """A transcriber that does each third job its own way."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._jobs = 0
        work = runtime.work
        runtime.work = lambda queue, handler, on_committed=None: work(queue, self._spoilt(handler), on_committed)  # type: ignore[method-assign]
        self._whisper = Whisper(runtime)

    def close(self) -> None:
        self._whisper.close()

    def misbehave(self, lease: Lease, handler: LeaseHandler) -> None:
        """What is done in place of `handler(lease)`."""
        raise NotImplementedError

    def send(self, *frames: bytes) -> None:
        """Say something to the dispatcher that no honest client would."""
        self._runtime.jobs.socket.send_multipart(list(frames))

    def stamp(self) -> Stamp:
        return Stamp(self._runtime.name, self._runtime.incarnation)

    def wait(self, seconds: float) -> None:
        with self._runtime.phases.during("being late", seconds + 10):
            time.sleep(seconds)

    def _spoilt(self, handler: LeaseHandler) -> LeaseHandler:
        def handle(lease: Lease) -> None:
            self._jobs += 1
            if self._jobs % EVERY:
                handler(lease)
            else:
                self.misbehave(lease, handler)

        return handle


class Exits(BadWhisper):
    """Ends in the middle of the job, without a word."""

    def misbehave(self, lease: Lease, handler: LeaseHandler) -> None:
        os._exit(1)


class Late(BadWhisper):
    """Does nothing for a while, then its job."""

    def misbehave(self, lease: Lease, handler: LeaseHandler) -> None:
        self.wait(LATE_S)
        handler(lease)


class Garbage(BadWhisper):
    """Answers with what is no message, or is one of another kind, and then ends."""

    def misbehave(self, lease: Lease, handler: LeaseHandler) -> None:
        good = self.stamp().pack(JobDone(lease=lease.id, job_id=lease.job.id, follow_ups=[]))
        self.send(b"job.done", b"\xc1" * 100)
        self.send(b"job.done")
        self.send(good[0], good[1][:-3])
        self.send(b"job.settled", good[1])
        self.send(os.urandom(20), os.urandom(200))
        time.sleep(0.1)  # for the messages to leave
        os._exit(1)


class Twice(BadWhisper):
    """Says that it is done, then that it is done with nothing to follow, then with something else, then that it has failed."""

    def misbehave(self, lease: Lease, handler: LeaseHandler) -> None:
        handler(lease)
        other = Job(turn=lease.job.turn, stream=lease.job.stream, work=Heard(transcript="something else"))
        for body in (
            JobDone(lease=lease.id, job_id=lease.job.id, follow_ups=[]),
            JobDone(lease=lease.id, job_id=lease.job.id, follow_ups=[other]),
            JobFailed(lease=lease.id, job_id=lease.job.id, reason="changed its mind", retry=True),
        ):
            self.send(*self.stamp().pack(body))


KINDS: Final[dict[str, Callable[[Runtime], BadWhisper]]] = {"exits": Exits, "late": Late, "garbage": Garbage, "twice": Twice}

if __name__ == "__main__":
    kind = KINDS[sys.argv[1]]
    ACTORS[f"bad-{sys.argv[1]}"] = f"chaos.bad_workers:{kind.__name__}"
    sys.exit(main([f"bad-{sys.argv[1]}"]))
