"""`supervisor tap`: the events as they pass."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial

import msgspec
import zmq

from bus.addresses import Addresses
from bus.codec import Stamp
from bus.events import Publisher, Subscriber, wait_until_heard
from bus.losses import Losses
from bus.messages.actor import BrokerBeat, Probe
from bus.messages.base import Message
from supervisor.instance import is_running, require_running

HOUSEKEEPING = (Probe.topic, BrokerBeat.topic)
"""Shown only when asked for: the bus looking at itself."""
CONNECT_TIMEOUT_S = 5.0
LOOK_INTERVAL_S = 1.0


def json_line(message: Message) -> str:
    """One event as one line of JSON."""
    envelope = message.envelope
    fields = {name: getattr(envelope, name) for name in ("sender", "incarnation", "seq", "turn", "stream", "mono_ns", "wall_ns")}
    payload_bytes = len(message.payload) if message.payload is not None else 0
    body = msgspec.to_builtins(message.body)
    return json.dumps({"topic": message.topic, **fields, "body": body, "payload_bytes": payload_bytes}, ensure_ascii=False)


def text_line(message: Message) -> str:
    """One event as one line for people."""
    envelope = message.envelope
    when = datetime.fromtimestamp(envelope.wall_ns / 1e9).strftime("%H:%M:%S.%f")[:-3]
    about = " ".join(part for part in (envelope.turn or envelope.stream,) if part)
    values = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in msgspec.to_builtins(message.body).items())
    return " ".join(part for part in (when, f"{message.topic:<16}", f"{envelope.sender:<10}", about, values) if part)


class _Missed:
    """Tells of the events that this tap was too slow for: when it begins to miss some, and how many there were."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._losses = Losses(time.monotonic_ns)

    def add(self, _message: Message, number: int) -> None:
        if self._losses.count("events-missed", number) is not None:
            self._tell("this tap is missing events: it was stopped, its reader is too slow, or the broker was away")

    def check(self, *, at_end: bool = False) -> None:
        for told in self._losses.end() if at_end else self._losses.check():
            self._tell(f"this tap missed {told.body.number} events")


def tap(
    addresses: Addresses,
    topics: Sequence[str],
    clock: Callable[[], float] = time.monotonic,
    timeout_s: float | None = None,
    tell: Callable[[str], None] = lambda _line: None,
) -> Iterator[Message]:
    """Yield events whose topic begins with one of `topics`, or all that tell of something, until the time is over or the assistant ends.

    `tell` gets a line for people when events were missed. Raises NoInstance when there is no assistant at the start.
    """
    missed = _Missed(tell)
    require_running(addresses)
    end_s = None if timeout_s is None else clock() + timeout_s
    with zmq.Context() as context:
        publisher = Publisher(context, addresses.events_in, Stamp("tap", str(os.getpid())))
        subscriber = Subscriber(context, addresses.events_out, tuple(topics) or ("",), on_lost=missed.add)
        try:
            early = wait_until_heard(publisher, subscriber, CONNECT_TIMEOUT_S)
            yield from filter(partial(_is_wanted, topics), early)
            while end_s is None or clock() < end_s:
                missed.check()
                left_s = LOOK_INTERVAL_S if end_s is None else min(LOOK_INTERVAL_S, end_s - clock())
                if not subscriber.socket.poll(max(0, round(left_s * 1000))):
                    if not is_running(addresses):
                        sys.stderr.write("the assistant has stopped\n")
                        return
                    continue
                yield from filter(partial(_is_wanted, topics), subscriber.receive())
        finally:
            missed.check(at_end=True)
            publisher.close()
            subscriber.close()


def _is_wanted(topics: Sequence[str], message: Message) -> bool:
    return message.topic not in HOUSEKEEPING or any(topic and message.topic.startswith(topic) for topic in topics)
