"""Several Whisper workers as processes of their own, beside faster-whisper's own `num_workers` in one process.

Both get the same utterances all at once, the same model, the same cores and as many threads in all. Ours come through the spool of the
dispatcher; the other's are calls of a function.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import count, islice
from pathlib import Path

import msgspec
import zmq

from bench.instance import BenchError, Pipe, actors, answer, child, running
from bench.jobs import Pump
from bench.models import LOAD_S, REHEARSAL
from bench.result import Result, against, percentile
from bench.sound import seconds, utterances
from bus.addresses import Addresses
from bus.codec import Stamp
from bus.jobs import JobClient, Lease
from bus.messages.jobs import Heard, Job, Transcribe
from bus.settings import WhisperSettings
from supervisor.modules import command
from supervisor.placement import plan
from supervisor.topology import Topology, format_cpu_list, this_machine

UTTERANCES = 12
ROUNDS = 2
WORKERS_MAX = 8
GOAL_RATIO = 0.9
CpuSets = tuple[tuple[int, ...], ...]


def measure(models: Sequence[str]) -> list[Result]:
    """Utterances per second with one worker and more, for the rehearsal model or for each of `models`."""
    return [result for model in models or (REHEARSAL,) for result in _scaling(model)]


def crews(topology: Topology) -> list[CpuSets]:
    """The cores of one worker and of more, as many as leave none of the cores idle that the planner gives to Whisper, each with its own."""
    cores = sum(len(crew) for crew in plan(topology).whisper)
    sizes = [size for size in range(1, min(cores, WORKERS_MAX) + 1) if cores % size == 0]
    planned = [plan(topology, size, cores // size).whisper for size in sizes]
    return [sets for size, sets in zip(sizes, planned, strict=True) if len(set(sets)) == size]


def _scaling(model: str) -> Iterator[Result]:
    spoken = utterances()
    work = [spoken[number % len(spoken)] for number in range(UTTERANCES)]
    for sets in crews(this_machine()):
        ours, theirs = _compare(model, sets, work)
        threads = len(sets[0])
        yield against(
            theirs,
            name=f"Whisper × {len(sets)}" + (f", {Path(model).name}" if model != REHEARSAL else ""),
            value=ours,
            unit="/s",
            meaning=f"utterances a second, {len(sets)} × {threads} threads, beside num_workers={len(sets)} in one process",
            goal_ratio=GOAL_RATIO,
            more_is_better=True,
        )


def _compare(model: str, sets: CpuSets, work: list[bytes]) -> tuple[float, float]:
    """Utterances per second, ours and theirs, the medians of rounds in turns."""
    ours: list[float] = []
    theirs: list[float] = []
    with ExitStack() as stack:
        addresses = stack.enter_context(actors("broker", "dispatcher"))
        for number, cpus in enumerate(sets, 1):
            argv = command("actors", f"whisper-{number}", "--set", f"whisper.model={msgspec.json.encode(model).decode()}")
            stack.enter_context(running(argv, addresses, variables={"EARSHOT_CPUS": format_cpu_list(cpus)}))
        submitter = _Submitter(addresses)
        stack.callback(submitter.close)
        pipe, _ = stack.enter_context(child(_in_one_process, model, sets))
        stack.callback(pipe.close)
        answer(pipe, f"the model {model}", LOAD_S)
        for _ in range(ROUNDS):
            ours.append(len(work) / submitter.transcribe(work))
            pipe.send(work)
            theirs.append(len(work) / float(answer(pipe, "the other pool", LOAD_S)))
    return percentile(ours, 50), percentile(theirs, 50)


class _Submitter:
    """In the places of the segmenter and of the turn manager: has utterances transcribed, and takes what was heard."""

    def __init__(self, addresses: Addresses) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._client = JobClient(self._context, addresses.jobs, Stamp("bench", "1"))
        self._pump = Pump(self._client)
        self._numbers = count()
        self._heard = 0
        self._client.work(Heard.queue, self._on_lease)

    def transcribe(self, work: list[bytes]) -> float:
        """How long it took until all of it was heard, seconds."""
        begin_s = time.monotonic()
        wanted = self._heard + len(work)
        for number, pcm in zip(islice(self._numbers, len(work)), work, strict=True):
            length_ms = round(seconds(pcm) * 1000)
            job = Transcribe(first_sample=0, audio_ms=length_ms, speech_ms=length_ms)
            self._client.submit(Job(turn=f"bench{number}-1a2b3c4d-0", stream=f"bench{number}", work=job), pcm)
        while self._heard < wanted:
            self._pump.turn(100)
            if time.monotonic() - begin_s > LOAD_S:
                raise BenchError(f"{wanted - self._heard} of {len(work)} utterances were not transcribed within {LOAD_S:g} s")
        return time.monotonic() - begin_s

    def close(self) -> None:
        self._client.close()
        self._context.term()

    def _on_lease(self, lease: Lease) -> None:
        self._heard += 1
        lease.done()


def _in_one_process(pipe: Pipe, model: str, sets: CpuSets) -> None:
    os.sched_setaffinity(0, {cpu for cpus in sets for cpu in cpus})  # before the model library makes its threads
    os.environ["OMP_NUM_THREADS"] = str(len(sets[0]))
    from actors.whisper.engine import Engine, find_model

    engine = Engine(find_model(model, download=True), WhisperSettings(model=model), len(sets[0]), workers=len(sets))
    pipe.send("ready")

    def hear(pcm: bytes) -> None:
        engine.look(pcm)
        engine.transcribe(pcm)

    with ThreadPoolExecutor(len(sets)) as pool, suppress(EOFError):
        while True:
            work = pipe.recv()
            begin_s = time.monotonic()
            list(pool.map(hear, work))
            pipe.send(time.monotonic() - begin_s)
