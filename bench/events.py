"""One event from process to process through the broker, beside plain pyzmq between as many processes.

Both ways send frames of the same sizes, one message each 2 ms, in turns, so that whatever else the machine does hits both.
The latency counts from before the message is packed to after it is unpacked and checked; plain pyzmq packs nothing.
"""

from __future__ import annotations

import struct
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any

import zmq

from bench.instance import BenchError, actors, answer, child, place
from bench.result import Result, against, percentile
from bus.codec import Stamp
from bus.events import Publisher, Subscriber
from bus.messages.reply import ReplyDelta, ReplyFinished

ROUNDS = 12
EVENTS = 250
PACE_S = 0.002
GOAL_RATIO = 1.5
WARM_UP_S = 20.0
MEANING = "publisher → broker → subscriber, packed and checked, beside plain pyzmq with frames of the same sizes"
TEXT, TURN, STREAM = " certainly", "mic-1a2b3c4d-480000", "mic"
_HEAD = struct.Struct("=qqq")


def measure() -> list[Result]:
    """The latency of one event, median and 99th percentile."""
    ours_ns: list[int] = []
    plain_ns: list[int] = []
    topic, head = Stamp("llm", "0a1b.1").pack(ReplyDelta(attempt=1, index=100, text=TEXT), turn=TURN, stream=STREAM)
    with ExitStack() as stack:
        addresses = stack.enter_context(actors("broker"))
        elsewhere = stack.enter_context(place())
        stack.enter_context(child(_forward_plain, elsewhere.events_in, elsewhere.events_out))
        send_ours, _ = stack.enter_context(child(_publish, addresses.events_in))
        take_ours, _ = stack.enter_context(child(_subscribe, addresses.events_out))
        send_plain, _ = stack.enter_context(child(_publish_plain, elsewhere.events_in, topic, len(head)))
        take_plain, _ = stack.enter_context(child(_subscribe_plain, elsewhere.events_out))
        _connect(send_ours, take_ours)
        _connect(send_plain, take_plain)
        for number in range(ROUNDS):
            ours_ns += _round(send_ours, take_ours, number)
            plain_ns += _round(send_plain, take_plain, number)
    if min(len(ours_ns), len(plain_ns)) < ROUNDS * EVENTS:
        raise BenchError(f"of {ROUNDS * EVENTS} events {len(ours_ns)} arrived, without Earshot {len(plain_ns)}")
    return [
        against(
            percentile(plain_ns, percent) / 1000,
            name=f"event p{percent}",
            value=percentile(ours_ns, percent) / 1000,
            unit="µs",
            meaning=meaning,
            goal_ratio=goal_ratio,
        )
        for percent, goal_ratio, meaning in ((50, GOAL_RATIO, MEANING), (99, None, ""))
    ]


def _connect(send: Connection[Any, Any], take: Connection[Any, Any]) -> None:
    """Send rounds of no events until the end of one arrives: only then do the sockets hold together."""
    for number in range(-round(WARM_UP_S / 0.2), 0):
        send.send((number, 0))
        if take.poll(0.2):
            while take.recv()[0] != number:
                pass
            return
    raise BenchError(f"no event came through within {WARM_UP_S:g} s")


def _round(send: Connection[Any, Any], take: Connection[Any, Any], number: int) -> list[int]:
    send.send((number, EVENTS))
    found, latencies_ns = answer(take, "events")
    assert found == number, f"the end of round {found} came in round {number}"
    return list(latencies_ns)


def _publish(pipe: Connection[Any, Any], endpoint: str) -> None:
    publisher = Publisher(zmq.Context(), endpoint, Stamp("llm", "0a1b.1"))
    while True:
        number, count = pipe.recv()
        for index in range(count):
            publisher.publish(ReplyDelta(attempt=number, index=index, text=TEXT), turn=TURN, stream=STREAM)
            time.sleep(PACE_S)
        publisher.publish(ReplyFinished(attempt=number, text="", finish_reason="stop"))


def _subscribe(pipe: Connection[Any, Any], endpoint: str) -> None:
    subscriber = Subscriber(zmq.Context(), endpoint, ("reply.",))
    latencies_ns: list[int] = []
    while True:
        subscriber.socket.poll()
        for message in subscriber.receive():
            now_ns = time.monotonic_ns()
            if isinstance(message.body, ReplyDelta):
                latencies_ns.append(now_ns - message.envelope.mono_ns)
            elif isinstance(message.body, ReplyFinished):
                pipe.send((message.body.attempt, latencies_ns))
                latencies_ns = []


def _publish_plain(pipe: Connection[Any, Any], endpoint: str, topic: bytes, head_bytes: int) -> None:
    socket = zmq.Context().socket(zmq.PUB)
    socket.connect(endpoint)
    padding = bytes(head_bytes - _HEAD.size)
    while True:
        number, count = pipe.recv()
        for _ in range(count):
            socket.send_multipart([topic, _HEAD.pack(time.monotonic_ns(), number, 0) + padding])
            time.sleep(PACE_S)
        socket.send_multipart([topic, _HEAD.pack(0, number, 1)])


def _subscribe_plain(pipe: Connection[Any, Any], endpoint: str) -> None:
    socket = zmq.Context().socket(zmq.SUB)
    socket.connect(endpoint)
    socket.subscribe(b"reply.")
    latencies_ns: list[int] = []
    while True:
        _, head = socket.recv_multipart()
        now_ns = time.monotonic_ns()
        sent_ns, number, is_end = _HEAD.unpack_from(head)
        if not is_end:
            latencies_ns.append(now_ns - sent_ns)
        else:
            pipe.send((number, latencies_ns))
            latencies_ns = []


def _forward_plain(_pipe: Connection[Any, Any], front: str, back: str) -> None:
    context = zmq.Context()
    xsub, xpub = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
    xsub.bind(front)
    xpub.bind(back)
    zmq.proxy(xsub, xpub)
