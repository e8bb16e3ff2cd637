"""Readers of the sound that are stopped, one after the other: does any of them miss a frame, and does the source notice?

A source plays the conversation of the rehearsal kit at the pace of a microphone. It has four readers: the segmenter, the recorder
with a recording on purpose, `supervisor tap`, and one that looks at every frame. Each is stopped for some seconds with SIGSTOP and
continued. What each of them made of the sound is then laid beside what was played, frame for frame.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import zmq

from bench.audio import STREAM, open_source, serve_until
from bench.instance import LOOK_INTERVAL_S, STOP_S, BenchError, Pipe, answer, child, place, running, wait_for
from bench.jobs import Pump
from bench.result import Result, against, at_most, percentile
from bench.sound import CONVERSATION, frames, read_wav
from bus.addresses import Addresses, Lock
from bus.audio import AudioReader, End, Frame
from bus.codec import Stamp
from bus.events import Subscriber
from bus.jobs import JobClient, Lease, query_jobs
from bus.limits import FRAME_MS, FRAME_SAMPLES
from bus.messages.audio import AudioFrame, AudioGap
from bus.messages.jobs import Transcribe
from bus.recording import Recording
from supervisor.instance import lock_path
from supervisor.modules import command, environ
from supervisor.record import RecorderLine
from supervisor.takes import takes

BEFORE_S = 5.0
STOPPED_S = 6.0
BETWEEN_S = 2.5
COMMIT_S = 10.0
"""The segmenter is to have committed the end of the stream by then, and the tap to have shown it."""
GOAL_RATIO = 1.1
NOBODY = "nobody"


def measure() -> list[Result]:
    """Frames lost, and the time that the source takes to publish one while all readers run and while one of them is stopped."""
    played = frames(read_wav(CONVERSATION))
    with ExitStack() as stack:
        addresses = stack.enter_context(place())
        stack.callback(Lock(lock_path(addresses), "the benchmark").release)  # for the tap and the recorder, we are the assistant
        pids = {
            name: stack.enter_context(running(command("actors", name), addresses)) for name in ("broker", "dispatcher", "vad", "recorder")
        }
        gaps = Subscriber(stack.enter_context(zmq.Context()), addresses.events_out, (AudioGap.topic,))
        stack.callback(gaps.close)
        worker, _ = stack.enter_context(child(_take_utterances, addresses))
        source, _ = stack.enter_context(child(_play, addresses))
        answer(source, "the source")
        reader, reader_pid = stack.enter_context(child(_read, addresses))
        answer(reader, "the reader")
        recording = addresses.state_dir / "session.mcap"
        recorder = stack.enter_context(RecorderLine(addresses))
        recorder.start(recording, sound=True, text=True)
        tapped, tap_pid = stack.enter_context(_tap(addresses))
        source.send("begin")
        wait_for(lambda: b"\n" in tapped.read_bytes(), "the tap to hear")
        times = _stop_one_by_one({"tap": tap_pid, "segmenter": pids["vad"], "recorder": pids["recorder"], "a plain reader": reader_pid})
        publications, committed = answer(source, "the end of the source")
        lost = {"a plain reader": misplaced(answer(reader, "the end of the stream"), len(played))}
        told = sum(message.body.samples for message in gaps.receive() if isinstance(message.body, AudioGap)) // FRAME_SAMPLES
        lost["segmenter"] = changed(_utterances(addresses, worker), played) + told + len(played) - committed // FRAME_SAMPLES
        recorder.stop()
        take = next(take for take in takes(Recording(recording)) if take.stream == STREAM)
        lost["recorder"] = changed([(take.begin_sample, bytes(take.pcm))], played) + len(played) - len(frames(bytes(take.pcm)))
        lost["tap"] = _missing_in_tap(tapped, len(played))
    took_us = _by_stopped(publications, times)
    return [
        at_most(
            0,
            name="frames lost",
            value=sum(lost.values()),
            unit="frames",
            meaning=f"of {len(played)}, each of {len(lost)} readers stopped for {STOPPED_S:g} s: missing, twice, misplaced or changed",
            parts=lost,
            parts_of="stopped reader",
        ),
        *(
            against(
                percentile(took_us[NOBODY], percent),
                name=f"publish frame p{percent}, tap stopped",
                value=percentile(took_us["tap"], percent),
                unit="µs",
                meaning="time in the source to hand a frame to the bus, beside the same with all readers running" if percent == 50 else "",
                goal_ratio=GOAL_RATIO if percent == 50 else None,
                parts={name: percentile(values, percent) for name, values in took_us.items()},
                parts_of="stopped reader",
            )
            for percent in (50, 99)
        ),
    ]


def misplaced(numbers: Sequence[int], total: int) -> int:
    """How many of the frames 0 … total - 1 are missing, and how many came more than once or before an earlier one."""
    missing = total - len(set(numbers) & set(range(total)))
    surplus = len(numbers) - len(set(numbers))
    out_of_place = sum(later < earlier for earlier, later in pairwise(numbers))
    return missing + surplus + out_of_place


def changed(pieces: Sequence[tuple[int, bytes]], played: Sequence[bytes]) -> int:
    """How many frames in these pieces of sound (first sample, PCM) are not what was played there."""
    wrong = 0
    for first_sample, pcm in pieces:
        begin = first_sample // FRAME_SAMPLES
        wrong += sum(piece != original for piece, original in zip(frames(pcm), played[begin:], strict=False))
        wrong += max(0, begin + len(frames(pcm)) - len(played))
    return wrong


def _by_stopped(publications: Sequence[tuple[int, int]], times: dict[str, tuple[int, int]]) -> dict[str, list[float]]:
    """How long each frame took to publish, µs, by the reader that was stopped at that time."""
    found: dict[str, list[float]] = {NOBODY: [], **{name: [] for name in times}}
    for at_ns, took_ns in publications:
        name = next((name for name, (begin_ns, end_ns) in times.items() if begin_ns <= at_ns < end_ns), NOBODY)
        found[name].append(took_ns / 1000)
    return found


def _stop_one_by_one(pids: dict[str, int]) -> dict[str, tuple[int, int]]:
    """When each was stopped and continued, monotonic ns."""
    times: dict[str, tuple[int, int]] = {}
    time.sleep(BEFORE_S)
    for name, pid in pids.items():
        os.kill(pid, signal.SIGSTOP)
        stopped_ns = time.monotonic_ns()
        time.sleep(STOPPED_S)
        times[name] = (stopped_ns, time.monotonic_ns())
        os.kill(pid, signal.SIGCONT)
        time.sleep(BETWEEN_S)
    return times


@contextmanager
def _tap(addresses: Addresses) -> Iterator[tuple[Path, int]]:
    """`supervisor tap audio.frame`, writing JSON lines into a file."""
    with tempfile.NamedTemporaryFile(prefix="eb-tap-") as output:
        argv = command("supervisor.cli", "tap", AudioFrame.topic, "--json")
        process = subprocess.Popen(argv, env={**environ(), **addresses.environ}, stdout=output)
        try:
            yield Path(output.name), process.pid
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _missing_in_tap(path: Path, total: int) -> int:
    """A tap has no history: what it does not show from its first frame on is lost."""
    end_s = time.monotonic() + COMMIT_S
    while not (lines := _lines(path))[-1]["last"] and time.monotonic() < end_s:
        time.sleep(LOOK_INTERVAL_S)
    numbers = [line["first_sample"] // FRAME_SAMPLES for line in lines if not line["last"]]
    return misplaced([number - numbers[0] for number in numbers], total - numbers[0])


def _lines(path: Path) -> list[Any]:
    """The frames that the tap has shown so far. The newest line may not be whole yet."""
    return [json.loads(line)["body"] for line in path.read_text().rpartition("\n")[0].splitlines()]


def _utterances(addresses: Addresses, worker: Pipe) -> list[tuple[int, bytes]]:
    """What the segmenter made of the sound: (first sample, PCM) each."""
    with zmq.Context() as context:
        wait_for(lambda: not query_jobs(context, addresses.jobs, Stamp("bench", "5"), STREAM, 2.0), "the utterances to be taken")
    worker.send("what have you got?")
    found: list[tuple[int, bytes]] = answer(worker, "the utterances")
    if not found:
        raise BenchError("the segmenter found no speech in the conversation")
    return found


def _take_utterances(pipe: Pipe, addresses: Addresses) -> None:
    """In Whisper's place."""
    found: list[tuple[int, bytes]] = []

    def on_lease(lease: Lease) -> None:
        assert isinstance(lease.job.work, Transcribe)
        found.append((lease.job.work.first_sample, lease.payload or b""))
        lease.done()

    client = JobClient(zmq.Context(), addresses.jobs, Stamp("whisper-1", "1"))
    pump = Pump(client)
    client.work(Transcribe.queue, on_lease)
    while not pipe.poll():
        pump.turn(100)
    pipe.send(found)
    pipe.recv()


def _play(pipe: Pipe, addresses: Addresses) -> None:
    played = frames(read_wav(CONVERSATION))
    source = open_source(addresses)
    pipe.send("ready")
    while not pipe.poll():
        serve_until(source, time.monotonic_ns() + 10_000_000)
    publications: list[tuple[int, int]] = []
    due_ns = time.monotonic_ns()
    for number, pcm in enumerate(played):
        due_ns += FRAME_MS * 1_000_000
        serve_until(source, due_ns)
        begin_ns = time.monotonic_ns()
        source.publish(number * FRAME_SAMPLES, pcm, begin_ns)
        publications.append((begin_ns, time.monotonic_ns() - begin_ns))
    source.end(time.monotonic_ns())
    end_s = time.monotonic() + COMMIT_S
    while not source.finished and time.monotonic() < end_s:
        serve_until(source, time.monotonic_ns() + 10_000_000)
    pipe.send((publications, source.mark.sample))
    while True:
        serve_until(source, time.monotonic_ns() + 1_000_000_000)


def _read(pipe: Pipe, addresses: Addresses) -> None:
    """Say the number of each frame, and -1 for one that is not what was played."""
    played = frames(read_wav(CONVERSATION))
    reader = AudioReader(zmq.Context(), addresses, STREAM, Stamp("bench", "2"))
    poller = zmq.Poller()
    poller.register(reader.live, zmq.POLLIN)
    poller.register(reader.history, zmq.POLLIN)
    numbers: list[int] = []
    is_told = False
    while True:
        if not poller.poll(1000):
            reader.tick()
        for heard in reader.read():
            if isinstance(heard, Frame):
                number = heard.first_sample // FRAME_SAMPLES
                numbers.append(number if heard.pcm == played[number] else -1)
            elif isinstance(heard, End):
                pipe.send(numbers)
            elif not is_told:  # the first answer of the history: it is connected
                is_told = True
                pipe.send("ready")
