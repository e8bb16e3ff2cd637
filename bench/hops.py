"""Messages from process to process, timed: the part that the benchmarks of the events and of the sound share.

Different *ways* send frames of the same sizes at the same pace, and they do so in turns, so that whatever else the machine does hits
all of them. The latency counts from before a message is made to after it can be used.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import zmq

from bench.instance import BenchError, Pipe, answer, child, place

WARM_UP_S = 20.0
WARM_UP_ROUND = 1_000_000
"""The number of the first round that is for warming up. No others are so many."""
_HEAD = struct.Struct("=qqq")


@dataclass(frozen=True)
class Way:
    """A process that sends and one that receives, each on its pipe. In a round the one is told (round, how many messages), the other
    answers (round, latencies in ns)."""

    send: Pipe
    take: Pipe

    def connect(self) -> None:
        """Send rounds of no messages until the end of one arrives: only then do the sockets hold together."""
        for number in range(WARM_UP_ROUND, WARM_UP_ROUND + round(WARM_UP_S / 0.2)):
            self.send.send((number, 0))
            if self.take.poll(0.2):
                while self.take.recv()[0] != number:
                    pass
                return
        raise BenchError(f"no message came through within {WARM_UP_S:g} s")

    def round(self, number: int, count: int) -> list[int]:
        self.send.send((number, count))
        found, latencies_ns = answer(self.take, "messages")
        assert found == number, f"the end of round {found} came in round {number}"
        return list(latencies_ns)


def take_turns(ways: Mapping[str, Way], rounds: int, count: int) -> dict[str, list[int]]:
    """The latencies of each way, ns. Raise BenchError when messages are missing."""
    found: dict[str, list[int]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            found[name] += way.round(number, count)
    for name, latencies_ns in found.items():
        if len(latencies_ns) != rounds * count:
            raise BenchError(f"of {rounds * count} messages {len(latencies_ns)} arrived by the way {name!r}")
    return found


@contextmanager
def plain(frames: Sequence[bytes], pace_s: float, *, proxied: bool) -> Iterator[Way]:
    """Plain pyzmq between as many processes, connected: PUB → SUB, or with `zmq.proxy` between them."""
    with ExitStack() as stack:
        addresses = stack.enter_context(place())
        if proxied:
            stack.enter_context(child(_forward, addresses.events_in, addresses.events_out))
        sender, _ = stack.enter_context(child(_send, addresses.events_in, list(frames), pace_s, not proxied))
        receiver, _ = stack.enter_context(child(_receive, addresses.events_out if proxied else addresses.events_in))
        way = Way(sender, receiver)
        way.connect()
        yield way


def _send(pipe: Pipe, endpoint: str, frames: list[bytes], pace_s: float, is_bound: bool) -> None:
    socket = zmq.Context().socket(zmq.PUB)
    (socket.bind if is_bound else socket.connect)(endpoint)
    topic, head, *rest = frames
    padding = bytes(len(head) - _HEAD.size)
    while True:
        number, count = pipe.recv()
        for _ in range(count):
            socket.send_multipart([topic, _HEAD.pack(time.monotonic_ns(), number, 0) + padding, *rest])
            time.sleep(pace_s)
        socket.send_multipart([topic, _HEAD.pack(0, number, 1), *rest])


def _receive(pipe: Pipe, endpoint: str) -> None:
    socket = zmq.Context().socket(zmq.SUB)
    socket.connect(endpoint)
    socket.subscribe(b"")
    latencies_ns: list[int] = []
    while True:
        _, head, *_ = socket.recv_multipart()
        now_ns = time.monotonic_ns()
        sent_ns, number, is_end = _HEAD.unpack_from(head)
        if not is_end:
            latencies_ns.append(now_ns - sent_ns)
        else:
            pipe.send((number, latencies_ns))
            latencies_ns = []


def _forward(_pipe: Pipe, front: str, back: str) -> None:
    context = zmq.Context()
    xsub, xpub = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
    xsub.bind(front)
    xpub.bind(back)
    zmq.proxy(xsub, xpub)
