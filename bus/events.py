"""The events plane, seen from an actor: publish facts, subscribe to them, and know when the subscription really holds.

Events may be lost by a slow reader. The reader knows what it missed by the numbers, which count per sender and topic.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Iterator

import zmq

from bus.codec import Stamp, decode
from bus.errors import NoInstance, WireError
from bus.limits import (
    EVENT_HIGH_WATER_MARK,
    HANDSHAKE_MS,
    MAX_EVENT_BYTES,
    MAX_HEAD_BYTES,
    MAX_MESSAGES_AT_ONCE,
    MAX_PAYLOAD_BYTES,
    RECONNECT_MAX_MS,
    RECONNECT_MS,
)
from bus.messages.actor import Probe
from bus.messages.base import Body, Message
from bus.security import connect
from bus.sockets import is_readable, receive, send

CATCH_UP_ROUNDS = 20
"""Others may go on talking."""


def configure(
    socket: zmq.Socket[bytes], high_water_mark: int = EVENT_HIGH_WATER_MARK, largest_bytes: int = max(MAX_HEAD_BYTES, MAX_PAYLOAD_BYTES)
) -> None:
    """Set what every socket of ours wants: nothing lingers, nothing oversized or half open comes in, quick reconnection."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, largest_bytes)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.SNDHWM, high_water_mark)
    socket.setsockopt(zmq.RCVHWM, high_water_mark)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)


def received(socket: zmq.Socket[bytes], at_most: int = MAX_MESSAGES_AT_ONCE) -> Iterator[list[bytes]]:
    """Yield the messages that have arrived, without waiting. Not all of a flood: what is left makes the socket readable again."""
    for _ in range(at_most):
        if not is_readable(socket):
            return
        yield receive(socket)


def monitor_event(monitor: zmq.Socket[bytes]) -> int:
    """Receive one event of a socket's monitor and return its number. See zmq_socket_monitor(3) for the layout.

    `zmq.utils.monitor` does the same, but importing it imports asyncio.
    """
    (event,) = struct.unpack("=H", monitor.recv_multipart()[0][:2])
    return int(event)


class Publisher:
    """Publishes one sender's events. `publish` never blocks: without a broker the events are gone."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, stamp: Stamp) -> None:
        self.stamp = stamp
        self._socket = context.socket(zmq.PUB)
        configure(self._socket, largest_bytes=MAX_EVENT_BYTES)
        connect(self._socket, endpoint)

    def publish(self, body: Body, *, turn: str = "", stream: str = "", payload: bytes | None = None, key: str = "") -> None:
        """Send one event. Raise WireError when it passes a size limit."""
        send(self._socket, self.stamp.pack(body, turn=turn, stream=stream, payload=payload, key=key))

    def close(self) -> None:
        self._socket.close()


class Subscriber:
    """Receives events of the wanted topics, checked. Bad messages never reach the caller."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        topics: tuple[str, ...] = (),
        on_bad: Callable[[WireError], None] | None = None,
        on_lost: Callable[[Message, int], None] | None = None,
    ) -> None:
        """Subscribe to topics by prefix. `on_bad` is told of each bad message; `on_lost` gets the message after a gap, and how many
        are missing before it."""
        self.socket = context.socket(zmq.SUB)
        configure(self.socket, largest_bytes=MAX_EVENT_BYTES)
        self._on_bad = on_bad
        self._on_lost = on_lost
        self._next: dict[tuple[str, str, str], int] = {}
        self._probe: Probe | None = None
        connect(self.socket, endpoint)
        for topic in topics:
            self.subscribe(topic)

    def subscribe(self, topic: str) -> None:
        """Receive topics beginning with `topic` from now on; the empty string means all."""
        self.socket.subscribe(topic.encode())

    def receive(self) -> Iterator[Message]:
        """Yield what has arrived, without waiting. Of a flood only the beginning: call it again."""
        for frames in received(self.socket):
            message = self._checked(frames)
            if message is not None:
                yield message

    def _checked(self, frames: list[bytes]) -> Message | None:
        try:
            message = decode(frames)
        except WireError as error:
            if self._on_bad:
                self._on_bad(error)
            return None
        self._notice_gap(message)
        return message

    def _notice_gap(self, message: Message) -> None:
        envelope = message.envelope
        if message.topic == Probe.topic:
            return
        key = (envelope.sender, envelope.incarnation, message.topic)
        expected = self._next.get(key)
        self._next[key] = envelope.seq + 1
        if len(self._next) > 10_000:  # senders come and go; forgetting one costs at most one unnoticed gap
            self._next.pop(next(iter(self._next)))
        if expected is not None and envelope.seq > expected and self._on_lost:
            self._on_lost(message, envelope.seq - expected)

    def close(self) -> None:
        self.socket.close()


class LoopBack:
    """Knows that a subscriber hears what a publisher says: a nonce sent by one came back through the other."""

    def __init__(self, publisher: Publisher, subscriber: Subscriber) -> None:
        self._publisher = publisher
        self._subscriber = subscriber
        self.nonce = ""
        self.heard = False

    def begin(self) -> None:
        """Start over with a new nonce: at first, and after the broker was replaced."""
        self.end()
        self.nonce = secrets.token_hex(8)
        self.heard = False
        self._subscriber.socket.subscribe(self._topic)

    def end(self) -> None:
        """It is known, or given up: the broker need not keep the nonce any more."""
        if self.nonce:
            self._subscriber.socket.unsubscribe(self._topic)
        self.nonce = ""

    @property
    def _topic(self) -> bytes:
        return f"{Probe.topic}/{self.nonce}".encode()

    def ask(self) -> None:
        """Send the nonce; to be repeated every few milliseconds until it is heard."""
        self._publisher.publish(Probe(nonce=self.nonce), key=self.nonce)

    def hear(self, message: Message) -> bool:
        """Look at a received message; return True if it was a probe and not for anybody else."""
        if not isinstance(message.body, Probe):
            return False
        if message.body.nonce == self.nonce:
            self.heard = True
        return True


def wait_until_heard(publisher: Publisher, subscriber: Subscriber, timeout_s: float) -> list[Message]:
    """Block until the subscriber is connected for certain; return events that came meanwhile.

    For programs without a loop of their own (the tap, tests). Raise NoInstance after `timeout_s`.
    """
    probe = LoopBack(publisher, subscriber)
    probe.begin()
    early: list[Message] = []
    pause_ms = 10
    for _ in range(max(1, round(timeout_s * 1000 / pause_ms))):
        probe.ask()
        subscriber.socket.poll(pause_ms)
        early += [message for message in subscriber.receive() if not probe.hear(message)]
        if probe.heard:
            probe.end()
            return early
    probe.end()
    raise NoInstance(f"no answer from the event broker within {timeout_s:.0f} s; is the assistant running? See `supervisor status`")


def catch_up(publisher: Publisher, subscriber: Subscriber, timeout_s: float) -> list[Message]:
    """Return the events that were published before now, and were still on their way.

    For programs that know from the jobs or the store that something is over, and want to have heard all that was told of it. A question
    may overtake in the broker what others have said, so it is asked until nothing more comes, twice in a row: what the one overtook comes
    with the next. Raise NoInstance after `timeout_s` without an answer.
    """
    found: list[Message] = []
    in_vain = 0
    for _ in range(CATCH_UP_ROUNDS):
        late = wait_until_heard(publisher, subscriber, timeout_s)
        found += late
        in_vain = 0 if late else in_vain + 1
        if in_vain == 2:
            break
    return found
