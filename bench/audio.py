"""One frame of sound from its source to a reader that has it, beside plain pyzmq between as many processes."""

from __future__ import annotations

import time
from contextlib import ExitStack

import zmq

from bench.hops import Way, plain, take_turns
from bench.instance import Pipe, answer, child, place
from bench.result import Result, against, percentile
from bus.addresses import Addresses
from bus.audio import AudioReader, AudioSource, Frame
from bus.codec import Stamp
from bus.limits import FRAME_BYTES, FRAME_SAMPLES
from bus.messages.audio import AudioFrame

ROUNDS = 8
FRAMES = 125
PACE_S = 0.005
"""Six times as fast as a microphone, so that it does not take minutes."""
STREAM = "bench"
MEANING = "the source's ring, packing, PUB → SUB, checking, until the reader has the frame; beside plain PUB → SUB with as many bytes"


def measure() -> list[Result]:
    """The latency of one frame, median and 99th percentile."""
    frames = Stamp("mic", "0a1b.1").pack(AudioFrame(epoch="1a2b3c4d", first_sample=480_000, captured_ns=1), payload=bytes(FRAME_BYTES))
    with ExitStack() as stack:
        addresses = stack.enter_context(place())
        source, _ = stack.enter_context(child(_publish, addresses))
        answer(source, "the source")
        reader, _ = stack.enter_context(child(_read, addresses))
        answer(reader, "the reader")
        ways = {"ours": Way(source, reader), "plain": stack.enter_context(plain(frames, PACE_S, proxied=False))}
        found_us = {name: [ns / 1000 for ns in latencies_ns] for name, latencies_ns in take_turns(ways, ROUNDS, FRAMES).items()}
    return [
        against(
            percentile(found_us["plain"], percent),
            name=f"audio hop p{percent}",
            value=percentile(found_us["ours"], percent),
            unit="µs",
            meaning=MEANING if percent == 50 else "",
        )
        for percent in (50, 99)
    ]


def serve_until(source: AudioSource, due_ns: int) -> None:
    """Answer the readers' questions until then (monotonic)."""
    while (wait_ns := due_ns - time.monotonic_ns()) > 0:
        if source.history.poll(-(-wait_ns // 1_000_000)):
            source.serve()


def open_source(addresses: Addresses) -> AudioSource:
    """A source like a microphone, which cannot wait."""
    return AudioSource(zmq.Context(), addresses, STREAM, Stamp("bench", "1"), ring_s=60, can_wait=False)


def _publish(pipe: Pipe, addresses: Addresses) -> None:
    source = open_source(addresses)
    pcm = bytes(FRAME_BYTES)
    pipe.send("ready")
    while True:
        while not pipe.poll():  # the reader's first question is answered meanwhile
            serve_until(source, time.monotonic_ns() + 10_000_000)
        _, count = pipe.recv()
        for _ in range(count):
            now_ns = time.monotonic_ns()
            source.publish(source.newest, pcm, now_ns)
            serve_until(source, now_ns + round(PACE_S * 1e9))


def _read(pipe: Pipe, addresses: Addresses) -> None:
    reader = AudioReader(zmq.Context(), addresses, STREAM, Stamp("bench", "2"))
    poller = zmq.Poller()
    poller.register(reader.live, zmq.POLLIN)
    poller.register(reader.history, zmq.POLLIN)
    latencies_ns: list[int] = []
    is_told = False
    while True:
        if not poller.poll(1000):
            reader.tick()
        for heard in reader.read():
            if isinstance(heard, Frame):
                latencies_ns.append(time.monotonic_ns() - heard.captured_ns)
                if len(latencies_ns) == FRAMES:
                    pipe.send((heard.first_sample // FRAME_SAMPLES // FRAMES, latencies_ns))
                    latencies_ns = []
            elif not is_told:  # the first answer of the history: it is connected
                is_told = True
                pipe.send("ready")
