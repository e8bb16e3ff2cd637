"""A reader that is stopped for ten seconds: does it miss a frame, and does the source notice?

A source publishes numbered frames at the pace of a microphone. Its reader, a process of its own, is stopped with SIGSTOP and
continued. Every frame must come to it once, in order and unchanged.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from contextlib import ExitStack
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any

import zmq

from bench.instance import answer, child, place
from bench.result import Result, against, at_most, percentile
from bus.addresses import Addresses
from bus.audio import AudioReader, AudioSource, End, Frame
from bus.codec import Stamp
from bus.limits import FRAME_BYTES, FRAME_MS, FRAME_SAMPLES

RUNNING_S = 10.0
STOPPED_S = 10.0
AFTER_S = 2.0
STREAM = "bench"
_NUMBER = struct.Struct("=q")


def measure() -> list[Result]:
    """Frames lost, and the time that the source takes to publish one while its reader runs and while it is stopped."""
    total_frames = round((RUNNING_S + STOPPED_S + AFTER_S) * 1000 / FRAME_MS)
    with ExitStack() as stack:
        addresses = stack.enter_context(place())
        source, _ = stack.enter_context(child(_source, addresses, total_frames))
        answer(source, "the source")
        reader, reader_pid = stack.enter_context(child(_reader, addresses))
        answer(reader, "the reader")
        source.send("begin")
        time.sleep(RUNNING_S)
        os.kill(reader_pid, signal.SIGSTOP)
        stopped_ns = time.monotonic_ns()
        time.sleep(STOPPED_S)
        continued_ns = time.monotonic_ns()
        os.kill(reader_pid, signal.SIGCONT)
        publications: list[tuple[int, int]] = answer(source, "the end of the source")
        numbers: list[int] = answer(reader, "the end of the stream")
    running_us = [took_ns / 1000 for at_ns, took_ns in publications if at_ns < stopped_ns]
    stopped_us = [took_ns / 1000 for at_ns, took_ns in publications if stopped_ns <= at_ns < continued_ns]
    return [
        at_most(
            0,
            name="frames lost",
            value=wrong_frames(numbers, total_frames),
            unit="frames",
            meaning=f"of {total_frames} that were published, {len(stopped_us)} while the reader was stopped: missing, twice, misplaced",
        ),
        *(
            against(
                percentile(running_us, percent),
                name=f"publish frame p{percent}",
                value=percentile(stopped_us, percent),
                unit="µs",
                meaning=meaning,
            )
            for percent, meaning in ((50, "time in the source with the reader stopped, beside the same with the reader running"), (99, ""))
        ),
    ]


def wrong_frames(numbers: list[int], total: int) -> int:
    """How many of the frames 0 … total - 1 are missing, and how many came more than once or before an earlier one."""
    missing = total - len(set(numbers) & set(range(total)))
    surplus = len(numbers) - len(set(numbers))
    out_of_place = sum(later < earlier for earlier, later in pairwise(numbers))
    return missing + surplus + out_of_place


def _source(pipe: Connection[Any, Any], addresses: Addresses, total_frames: int) -> None:
    source = AudioSource(zmq.Context(), addresses, STREAM, Stamp("bench", "1"), ring_s=60, can_wait=False)
    pipe.send("ready")
    while not pipe.poll():  # the reader's first question is answered meanwhile
        _serve_until(source, time.monotonic_ns() + 10_000_000)
    publications: list[tuple[int, int]] = []
    due_ns = time.monotonic_ns()
    for number in range(total_frames):
        due_ns += FRAME_MS * 1_000_000
        _serve_until(source, due_ns)
        pcm = _NUMBER.pack(number).ljust(FRAME_BYTES, b"\0")
        begin_ns = time.monotonic_ns()
        source.publish(number * FRAME_SAMPLES, pcm, begin_ns)
        publications.append((begin_ns, time.monotonic_ns() - begin_ns))
    source.end(time.monotonic_ns())
    pipe.send(publications)
    while True:
        _serve_until(source, time.monotonic_ns() + 1_000_000_000)


def _serve_until(source: AudioSource, due_ns: int) -> None:
    while (wait_ns := due_ns - time.monotonic_ns()) > 0:
        if source.history.poll(-(-wait_ns // 1_000_000)):
            source.serve()


def _reader(pipe: Connection[Any, Any], addresses: Addresses) -> None:
    reader = AudioReader(zmq.Context(), addresses, STREAM, Stamp("bench", "2"))
    poller = zmq.Poller()
    poller.register(reader.live, zmq.POLLIN)
    poller.register(reader.history, zmq.POLLIN)
    numbers: list[int] = []
    told = False
    while True:
        if not poller.poll(1000):
            reader.tick()
        for heard in reader.read():
            if isinstance(heard, Frame):
                number = _NUMBER.unpack_from(heard.pcm)[0]
                numbers.append(number if heard.first_sample == number * FRAME_SAMPLES else -1)
            elif isinstance(heard, End):
                pipe.send(numbers)
            elif not told:  # the first answer of the history: it is connected
                told = True
                pipe.send("ready")
