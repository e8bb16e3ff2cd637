"""A connection that only listens: the events of an instance, and if it is wanted the sound of its streams."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import zmq

from bus.addresses import Addresses
from bus.codec import Stamp, decode
from bus.errors import EarshotError, NoInstance, WireError
from bus.events import Publisher, Subscriber, configure, wait_until_heard
from bus.losses import Losses
from bus.messages.audio import AudioFrame
from bus.messages.base import Message
from bus.security import refusal
from supervisor.filters import Wanted
from supervisor.instance import is_running, require_running

CONNECT_TIMEOUT_S: Final = 5.0
LOOK_INTERVAL_S: Final = 1.0
FLUSHED_AFTER_S: Final = 1.2
"""By then the flight recorder has put into its file what passed before we were connected."""


class Tap:
    """Listens to an instance. Use it as a context. Nothing waits for it: what it is too slow for, it misses, and tells."""

    def __init__(self, addresses: Addresses, wanted: Wanted, tell: Callable[[str], None] = lambda _line: None) -> None:
        """`tell` gets a line for people when events were missed. Raise NoInstance when no assistant is running, EarshotError when
        another machine does not let us in."""
        if not addresses.remote:
            require_running(addresses)
        self._addresses = addresses
        self._wanted = wanted
        self._tell = tell
        self._missed = _Missed(tell)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self.publisher = Publisher(self._context, addresses.events_in, Stamp("tap", str(os.getpid())))
        self._subscriber = Subscriber(self._context, addresses.events_out, wanted.subscriptions, self._missed.drop, self._missed.add)
        self._poller.register(self._subscriber.socket, zmq.POLLIN)
        self._streams: dict[str, zmq.Socket[bytes]] = {}
        self._refused = self._subscriber.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        self._early = deque(self._wait_until_heard())
        self._hears = any(topic and wanted.is_topic(AudioFrame.topic) for topic in wanted.topics)

    def messages(self, timeout_s: float | None = None) -> Iterator[Message]:
        """Yield what is wanted until the time is over or the assistant ends. Frames of sound come as messages too."""
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        yield from self._take_early()
        while end_s is None or time.monotonic() < end_s:
            self._missed.check()
            self._find_streams()
            left_s = LOOK_INTERVAL_S if end_s is None else min(LOOK_INTERVAL_S, end_s - time.monotonic())
            if not self._poller.poll(max(0, round(left_s * 1000))) and not self._is_there():
                self._tell("the assistant has stopped")
                return
            yield from filter(self._wanted.matches, self._receive())

    def wait_for_recorder(self) -> None:
        """Let the flight recorder write down what passed until now; what comes meanwhile is kept for `messages`."""
        end_s = time.monotonic() + FLUSHED_AFTER_S
        while (left_s := end_s - time.monotonic()) > 0:
            self._poller.poll(round(left_s * 1000))
            self._early.extend(self._receive())

    def _wait_until_heard(self) -> list[Message]:
        try:
            return wait_until_heard(self.publisher, self._subscriber, CONNECT_TIMEOUT_S)
        except NoInstance:
            self._is_there()
            if not self._addresses.remote:
                raise
            raise NoInstance(
                f"no answer from {self._addresses.remote} within {CONNECT_TIMEOUT_S:.0f} s: is it running, with network.listen set? "
                "Is the key that is allowed here the one that its `supervisor keys list` shows?"
            ) from None

    def _is_there(self) -> bool:
        """Whether the assistant is running. One on another machine may be cut off, and is waited for. Raise EarshotError when it has
        refused us: ZeroMQ does not try again after that."""
        if self._refused.poll(0):
            raise EarshotError(refusal(self._addresses.remote))
        return bool(self._addresses.remote) or is_running(self._addresses)

    def _take_early(self) -> Iterator[Message]:
        while self._early:
            message = self._early.popleft()
            if self._wanted.matches(message):
                yield message

    def _receive(self) -> Iterator[Message]:
        yield from self._subscriber.receive()
        for socket in self._streams.values():
            while int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                try:
                    yield decode(socket.recv_multipart(zmq.NOBLOCK))
                except WireError:
                    continue  # the segmenter counts what is wrong on this plane

    def _find_streams(self) -> None:
        if not self._hears:
            return
        for stream in self._addresses.audio_streams():
            if stream not in self._streams and self._wanted.stream in ("", stream):
                socket = self._context.socket(zmq.SUB)
                configure(socket)
                socket.subscribe(b"")
                socket.connect(self._addresses.audio_live(stream))
                self._streams[stream] = socket
                self._poller.register(socket, zmq.POLLIN)

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_error: object) -> None:
        self._missed.check(at_end=True)
        self._context.destroy(linger=0)


class _Missed:
    """Tells of what this tap could not show: when it begins to miss something, and how much it was."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._losses = Losses(time.monotonic_ns)

    def add(self, _message: Message, number: int) -> None:
        if self._losses.count("events-missed", number) is not None:
            self._tell("this tap is missing events: it was stopped, its reader is too slow, or the broker was away")

    def drop(self, _error: WireError) -> None:
        if self._losses.count("messages-malformed") is not None:
            self._tell("this tap is dropping messages that do not follow the protocol")

    def check(self, *, at_end: bool = False) -> None:
        for told in self._losses.end() if at_end else self._losses.check():
            what = "missed" if told.body.cause == "events-missed" else "dropped"
            self._tell(f"this tap {what} {told.body.number} events")
