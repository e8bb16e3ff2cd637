"""Work ahead of time under chance: real clients, a real spool, and whatever may be speculated, withdrawn, declined, or die."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from bus.jobs import JobClient, Lease
from bus.messages.jobs import Heard
from tests.unit.bus.plane import Plane, speech
from tests.unit.bus.test_ahead import PCM, answer, ear


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_speculated_withdrawn_declined_or_dies_each_turn_is_answered_once_as_it_was_submitted(plane: Plane, seed: int) -> None:
    """Real clients, a real spool, and chance: only the speech that was submitted comes to an answer, and once."""
    chance = random.Random(seed)
    queues = {"whisper-1": "stt", "whisper-2": "stt", "dialogue": "turn", "llm": "llm"}
    follow_ups = {"transcribe": Heard(transcript="hello"), "heard": answer().work}
    workers: dict[str, tuple[JobClient, list[Lease]]] = {}
    lives = itertools.count(1)
    vad = ear(plane)
    submitted: dict[str, int] = {}
    plane.dispatcher._board.max_attempts = 1000  # deaths alone must not end a job here

    def start(name: str) -> None:
        workers[name] = plane.worker(name, queues[name], str(next(lives)))

    def open_leases(name: str) -> list[Lease]:
        return [lease for lease in workers[name][1] if not lease.ended]

    def finish(lease: Lease) -> None:
        if lease.job.stage == "answer" and lease.ahead:
            return  # its words wait behind the gate
        follow_up = follow_ups.get(lease.job.stage)
        lease.done([msgspec.structs.replace(lease.job, work=follow_up, history=[])] if follow_up is not None else [])

    def speak(turn: str) -> None:
        revision = chance.randrange(1, 4)
        job = msgspec.structs.replace(speech(turn), revision=revision)
        match chance.choice(["speculate", "speculate", "partial", "withdraw", "submit"]):
            case "speculate":
                vad.speculate(job, PCM)
            case "partial":
                vad.speculate(job, PCM, partial=True)
            case "withdraw":
                vad.withdraw(turn)
            case "submit" if turn not in submitted:
                submitted[turn] = revision
                vad.submit(job, PCM)

    def fail(name: str) -> None:
        for lease in open_leases(name):
            lease.failed("no luck", retry=True)

    def decline(name: str) -> None:
        for lease in open_leases(name):
            if lease.ahead:
                lease.decline()

    def end(name: str) -> None:
        for lease in open_leases(name):
            finish(lease)

    def die(name: str) -> None:
        client, _ = workers[name]
        plane.clients.remove(client)
        client.close()
        start(name)

    def restart(_name: str) -> None:
        plane.die()
        plane.start()
        plane.dispatcher._board.max_attempts = 1000

    for name in queues:
        start(name)
    turns = [f"t{number}" for number in range(5)]
    deeds: list[Callable[[str], object]] = [
        *[lambda _name: speak(next((turn for turn in turns if turn not in submitted), turns[-1]))] * 3,
        *[end] * 3,
        fail,
        decline,
        lambda _name: plane.advance(chance.choice([0.5, 5.0, 25.0])),
        die,
        restart,
    ]
    for _ in range(120):
        chance.choice(deeds)(chance.choice(list(queues)))
        plane.pump(chance.randrange(12))

    def settle() -> bool:
        for name in queues:
            for lease in open_leases(name):
                if lease.cancelled or lease.ahead:
                    lease.decline() if lease.ahead and not lease.cancelled else lease.failed("stopped", retry=True)
                else:
                    finish(lease)
        plane.advance(0.5)
        return not vad.outstanding and not plane.spool.load()

    for turn in turns:
        if turn not in submitted:
            submitted[turn] = 9
            vad.submit(msgspec.structs.replace(speech(turn), revision=9), PCM)
    plane.until(settle)
    answered = Counter(job_id for job_id, state in plane.moved_ids if state == "done" and "/answer/" in job_id)
    assert answered == Counter({f"{turn}/answer/{revision}": 1 for turn, revision in submitted.items()})
    assert plane.spool.parked() == []
