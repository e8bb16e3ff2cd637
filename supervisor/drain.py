"""Waits, within the launcher's loop, until the dispatcher has no open job: every turn is then answered and remembered."""

from __future__ import annotations

from collections.abc import Callable

import zmq

from bus.codec import Stamp, decode
from bus.errors import WireError
from bus.events import configure
from bus.limits import JOB_HIGH_WATER_MARK
from bus.messages.jobs import JobsQuery, JobsState

ASK_INTERVAL_S = 0.1


def is_open(state: str) -> bool:
    """Whether a job in this state will still do something. A parked one has been given up, and the user was told."""
    return state != "parked"


class Drain:
    """Asks again and again. Watch `socket`, then call `receive`; call `ask` every ASK_INTERVAL_S until `done`."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, stamp: Stamp, on_bad: Callable[[WireError], None]) -> None:
        self._stamp = stamp
        self._on_bad = on_bad
        self.done = False
        self.socket = context.socket(zmq.DEALER)
        configure(self.socket, JOB_HIGH_WATER_MARK)
        self.socket.connect(endpoint)

    def ask(self) -> None:
        """Ask; a question that is lost with its dispatcher is followed by the next."""
        try:
            self.socket.send_multipart(self._stamp.pack(JobsQuery()), zmq.NOBLOCK)
        except zmq.Again:
            return

    def receive(self) -> None:
        while True:
            try:
                body = decode(self.socket.recv_multipart(zmq.NOBLOCK)).body
            except zmq.Again:
                return
            except WireError as error:
                self._on_bad(error)
                continue
            if isinstance(body, JobsState):
                self.done = not any(is_open(job.state) for job in body.jobs)

    def close(self) -> None:
        self.socket.close()
