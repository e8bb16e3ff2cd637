"""Who is behind which connection of the dispatcher's socket.

A ROUTER could be told to know its peers by names of their own choice. But from a peer whose name another connection has taken,
ZeroMQ reads nothing more, and does not tell it: whoever said a worker's name silenced it until its restart. So connections have the
names that ZeroMQ gives them, and the last hello says which of them a worker is at.
"""

from __future__ import annotations

import zmq

from bus.codec import Stamp
from bus.messages.base import Body
from bus.sockets import send

MAX_KNOWN = 2_000


class Peers:
    """Sends to connections and to workers, and knows when there is nobody."""

    def __init__(self, socket: zmq.Socket[bytes], stamp: Stamp) -> None:
        """`socket` is a ROUTER that is not bound yet."""
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # else it drops what is for nobody without a word
        self._socket = socket
        self._stamp = stamp
        self._at: dict[str, bytes] = {}

    def greet(self, key: str, peer: bytes) -> None:
        """The worker is at this connection from now on."""
        self._at.pop(key, None)
        self._at[key] = peer
        if len(self._at) > MAX_KNOWN:
            del self._at[next(iter(self._at))]  # silent for the longest time; idle workers say hello again and again

    def is_at(self, key: str, peer: bytes) -> bool:
        """Whether the worker is at this connection."""
        return self._at.get(key) == peer

    def send(self, peer: bytes, body: Body, payload: bytes | None = None) -> bool:
        """Send without waiting; return False for a peer that is gone or whose queue is full. It misses the message, and asks again."""
        try:
            send(self._socket, [peer, *self._stamp.pack(body, payload=payload)])
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            return False
        return True

    def tell(self, key: str, body: Body, payload: bytes | None = None) -> bool:
        """The same for a worker."""
        return self.send(self._at.get(key, b""), body, payload)
