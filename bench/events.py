"""One event from process to process through the broker, beside plain pyzmq between as many processes, and without a broker at all."""

from __future__ import annotations

import time
from contextlib import ExitStack

import zmq

from bench.hops import Way, plain, take_turns
from bench.instance import Pipe, actors, child
from bench.result import Result, against, percentile
from bus.codec import Stamp
from bus.events import Publisher, Subscriber
from bus.messages.reply import ReplyDelta, ReplyFinished

ROUNDS = 10
EVENTS = 250
PACE_S = 0.002
GOAL_RATIOS = {50: 1.5, 99: 2.0}
MEANING = "publisher → broker → subscriber, packed and checked, beside plain pyzmq through zmq.proxy with frames of the same sizes"
DIRECT = "the same beside plain PUB → SUB: what a broker costs that publishers and subscribers find each other by"
TEXT, TURN, STREAM = " certainly", "mic-1a2b3c4d-480000", "mic"


def measure() -> list[Result]:
    """The latency of one event, median and 99th percentile, beside both baselines."""
    frames = Stamp("llm", "0a1b.1").pack(ReplyDelta(attempt=1, index=100, text=TEXT), turn=TURN, stream=STREAM)
    with ExitStack() as stack:
        addresses = stack.enter_context(actors("broker"))
        sender, _ = stack.enter_context(child(_publish, addresses.events_in))
        receiver, _ = stack.enter_context(child(_subscribe, addresses.events_out))
        ours = Way(sender, receiver)
        ours.connect()
        ways = {
            "ours": ours,
            "proxy": stack.enter_context(plain(frames, PACE_S, proxied=True)),
            "direct": stack.enter_context(plain(frames, PACE_S, proxied=False)),
        }
        found_us = {name: [ns / 1000 for ns in latencies_ns] for name, latencies_ns in take_turns(ways, ROUNDS, EVENTS).items()}
    return [
        *(
            against(
                percentile(found_us["proxy"], percent),
                name=f"event p{percent}",
                value=percentile(found_us["ours"], percent),
                unit="µs",
                meaning=MEANING if percent == 50 else "",
                goal_ratio=goal_ratio,
            )
            for percent, goal_ratio in GOAL_RATIOS.items()
        ),
        *(
            against(
                percentile(found_us["direct"], percent),
                name=f"event p{percent}, beside direct",
                value=percentile(found_us["ours"], percent),
                unit="µs",
                meaning=DIRECT if percent == 50 else "",
            )
            for percent in GOAL_RATIOS
        ),
    ]


def _publish(pipe: Pipe, endpoint: str) -> None:
    publisher = Publisher(zmq.Context(), endpoint, Stamp("llm", "0a1b.1"))
    while True:
        number, count = pipe.recv()
        for index in range(count):
            publisher.publish(ReplyDelta(attempt=number, index=index, text=TEXT), turn=TURN, stream=STREAM)
            time.sleep(PACE_S)
        publisher.publish(ReplyFinished(attempt=number, text="", finish_reason="stop"))


def _subscribe(pipe: Pipe, endpoint: str) -> None:
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
