"""Whether work ahead of time delays what is wanted: a transcription while another stream has its own done ahead, and without."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count

import msgspec
import zmq

from bench.instance import BenchError, actors, running
from bench.jobs import Pump
from bench.models import LOAD_S, REHEARSAL
from bench.result import Result, against, percentile
from bench.sound import seconds, utterances
from bus.addresses import Addresses
from bus.codec import Stamp
from bus.jobs import JobClient, Lease
from bus.limits import FRAME_BYTES
from bus.messages.jobs import Heard, Job, Transcribe
from supervisor.modules import command
from supervisor.placement import plan
from supervisor.topology import format_cpu_list, this_machine

ROUNDS = 12
TURNS = 10
GOAL_RATIO = 1.2
AHEAD_EVERY_S = 0.25
"""A speaker who pauses, goes on and pauses again; no one does that so often."""
BETWEEN_S = (0.2, 0.5)
"""From the end of one turn to the submission of the next: at any moment of the other's work."""
SEED = 5


def measure() -> list[Result]:
    """How long a turn's transcription takes, from its submission until the turn manager has it, in turns with work ahead and without."""
    topology = this_machine()
    pools = [plan(topology).whisper]
    if len(pools[0]) == 1:  # a small machine: the least pool in which what is wanted finds a worker free
        pools.append(plan(topology, workers=2).whisper)
    return [result for sets in pools for result in _beside_work_ahead(sets)]


def _beside_work_ahead(sets: Sequence[tuple[int, ...]]) -> Iterator[Result]:
    with ExitStack() as stack:
        addresses = stack.enter_context(actors("broker", "dispatcher"))
        for number, cpus in enumerate(sets, 1):
            argv = command("actors", f"whisper-{number}", "--set", f"whisper.model={msgspec.json.encode(REHEARSAL).decode()}")
            stack.enter_context(running(argv, addresses, variables={"EARSHOT_CPUS": format_cpu_list(cpus)}))
        room = _Room(addresses, utterances())
        stack.callback(room.close)
        room.turn(ahead=False)
        took_ms: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for ahead, found in took_ms.items():
                found += [room.turn(ahead=ahead) for _ in range(TURNS)]
    pool = f"× {len(sets)}"
    for percent in (50, 99):
        yield against(
            percentile(took_ms[False], percent),
            name=f"final beside work ahead {pool} p{percent}",
            value=percentile(took_ms[True], percent),
            unit="ms",
            meaning=f"submission of an utterance → transcript with the turn manager, while another stream has its pauses transcribed "
            f"ahead ({room.made_ahead} times); beside the same without"
            if percent == 50
            else "",
            goal_ratio=GOAL_RATIO,
        )


class _Room:
    """In the places of the segmenter and of the turn manager, for two streams: one whose turns are wanted, and one that only pauses."""

    def __init__(self, addresses: Addresses, spoken: Sequence[bytes]) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._client = JobClient(self._context, addresses.jobs, Stamp("bench", "1"))
        self._pump = Pump(self._client)
        self._spoken = spoken
        self._numbers = count()
        self._heard: set[str] = set()
        self._random = random.Random(SEED)
        self.made_ahead = 0
        self._client.work(Heard.queue, self._on_lease)

    def turn(self, *, ahead: bool) -> float:
        """Have the next turn transcribed; how long that took, ms."""
        self._wait(self._random.uniform(*BETWEEN_S), ahead=ahead)
        job, pcm = self._job(f"wanted{next(self._numbers)}")
        begin_s = time.monotonic()
        self._client.submit(job, pcm)
        while job.turn not in self._heard:
            self._pump.turn(50)
            if time.monotonic() - begin_s > LOAD_S:
                raise BenchError(f"an utterance was not transcribed within {LOAD_S:g} s")
        took_s = time.monotonic() - begin_s
        if ahead:
            self._client.withdraw(self._ahead_turn)
        return took_s * 1000

    def close(self) -> None:
        self._client.close()
        self._context.term()

    @property
    def _ahead_turn(self) -> str:
        return "pausing-1a2b3c4d-0"

    def _wait(self, wait_s: float, *, ahead: bool) -> None:
        end_s = time.monotonic() + wait_s
        due_s = 0.0
        while (now_s := time.monotonic()) < end_s:
            if ahead and now_s >= due_s:
                due_s = now_s + AHEAD_EVERY_S
                job, pcm = self._job("pausing")
                self._client.speculate(msgspec.structs.replace(job, turn=self._ahead_turn), pcm)
            self._pump.turn(10)

    def _job(self, stream: str) -> tuple[Job, bytes]:
        pcm = self._spoken[next(self._numbers) % len(self._spoken)]
        length_ms = round(seconds(pcm) * 1000)
        work = Transcribe(first_sample=0, audio_ms=length_ms, speech_ms=length_ms)
        return Job(turn=f"{stream}-1a2b3c4d-0", stream=stream, work=work, revision=len(pcm) // FRAME_BYTES), pcm

    def _on_lease(self, lease: Lease) -> None:
        if lease.ahead:
            self.made_ahead += 1
            lease.decline()
        else:
            self._heard.add(lease.job.turn)
            lease.done()
