"""The broker of the events plane: XSUB in, XPUB out, and libzmq's own loop between them."""

from __future__ import annotations

import threading

import zmq

from bus.events import configure
from bus.limits import MAX_EVENT_BYTES


class Broker:
    """Forwards events in a thread of its own; no Python runs per message."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint_in: str, endpoint_out: str) -> None:
        self._front = context.socket(zmq.XSUB)
        self._back = context.socket(zmq.XPUB)
        for socket, endpoint in ((self._front, endpoint_in), (self._back, endpoint_out)):
            configure(socket, largest_bytes=MAX_EVENT_BYTES)
            socket.bind(endpoint)
        self._control, control = _pair(context)
        self._thread = threading.Thread(target=self._forward, args=(control,), name="proxy", daemon=True)
        self._thread.start()

    def _forward(self, control: zmq.Socket[bytes]) -> None:
        zmq.proxy_steerable(self._front, self._back, None, control)
        for socket in (self._front, self._back, control):
            socket.close()

    def close(self) -> None:
        """End the loop."""
        self._control.send(b"TERMINATE")
        self._thread.join()
        self._control.close()


def _pair(context: zmq.Context[zmq.Socket[bytes]]) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    ours, theirs = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    endpoint = f"inproc://{id(ours)}"
    ours.bind(endpoint)
    theirs.connect(endpoint)
    return ours, theirs
