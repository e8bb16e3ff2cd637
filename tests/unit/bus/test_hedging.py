"""Late, hung and poisonous work, over real sockets and a real spool: the first result counts, once, and nobody else is held up."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

import pytest

from bus.codec import Stamp
from bus.dispatcher import MAX_OPEN_JOBS
from bus.jobs import JobClient, Lease
from bus.messages.jobs import Answer, Heard, Job, JobCancel
from tests.unit.bus.plane import Plane, heard, plain, speech, told

LATE_S = 5.1
"""`hedge_after_s` and the second of sound that `speech` has."""
DEADLINE_S = 20.1


def test_a_late_transcription_is_given_to_a_second_worker_and_the_first_result_counts_once(plane: Plane) -> None:
    slow_client, slow = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech(), b"pcm")
    plane.until(lambda: slow)
    fast_client, fast = plane.worker("whisper-2", "stt")
    plane.until(lambda: plane.knows_worker("whisper-2/1"))
    assert not fast
    plane.advance(LATE_S)
    plane.until(lambda: fast)
    assert (fast[0].job, fast[0].payload, fast[0].attempt) == (speech(), b"pcm", 2)
    fast[0].done([heard()])
    plane.until(lambda: not fast_client.outstanding)
    plane.until(lambda: slow[0].cancelled)
    slow[0].done([Job(turn="a", stream="mic", work=Heard(transcript="another"))])
    plane.until(lambda: not slow_client.outstanding)
    assert [plain(stored.job) for stored in plane.spool.load()] == [heard()]
    assert plane.counted == ["jobs-hedged", "results-late"]
    assert ("transcribe", "hedged") in plane.moved


def test_the_first_worker_may_still_be_the_first_and_the_second_is_told(plane: Plane) -> None:
    slow, fast, _, fast_client = _hedged(plane)
    told: list[bool] = []
    fast[0].on_cancel = lambda: told.append(True)
    slow[0].done([heard()])
    plane.until(lambda: told)
    assert [plain(stored.job) for stored in plane.spool.load()] == [heard()]
    fast[0].failed("cancelled", retry=False)
    plane.until(lambda: not fast_client.outstanding)
    assert not [info for info in plane.jobs() if info.state == "parked"]


def test_the_loser_gets_its_next_job_only_once_it_is_through(plane: Plane) -> None:
    slow, fast, _, _ = _hedged(plane)
    fast[0].done()
    vad = plane.client("vad-2")
    vad.submit(speech("b"))
    vad.submit(speech("c"))
    plane.until(lambda: not vad.outstanding and len(fast) == 2)
    assert len(slow) == 1
    slow[0].done()
    plane.until(lambda: len(slow) == 2)
    assert [lease.job.turn for lease in (fast[1], slow[1])] == ["b", "c"]


def test_the_turn_tells_of_both_workers_and_who_was_quicker(plane: Plane) -> None:
    _, fast, _, _ = _hedged(plane)
    _, turns = plane.worker("dialogue", "turn")
    assert fast[0].job.history == []
    plane.clock.advance_s(1)
    fast[0].done([heard()])
    plane.until(lambda: turns)
    assert told(turns[0].job) == [
        ("transcribe", "whisper-1", 1, 0, 6.1, "another worker was quicker"),
        ("transcribe", "whisper-2", 2, 5.1, 6.1, ""),
    ]


def test_each_lease_of_a_hedged_job_is_told_once_although_a_worker_dies_and_the_dispatcher_too(plane: Plane) -> None:
    _, fast, dead, _ = _hedged(plane)
    _, turns = plane.worker("dialogue", "turn")
    plane.clock.advance_s(1)
    plane.clients.remove(dead)
    dead.socket.close(linger=0)  # or it would tell the next dispatcher that it has the job
    plane.dispatcher.worker_exited("whisper-1", "1")
    plane.die()
    plane.clock.advance_s(1)
    plane.start()
    fast[0].done([heard()])
    plane.until(lambda: turns)
    assert told(turns[0].job) == [("transcribe", "whisper-1", 1, 0, 6.1, "its worker died"), ("transcribe", "whisper-2", 2, 7.1, 7.1, "")]


def test_after_a_restart_of_the_dispatcher_the_loser_is_told_too(plane: Plane) -> None:
    _, fast, _, _ = _hedged(plane)
    _, turns = plane.worker("dialogue", "turn")
    plane.die()
    plane.clock.advance_s(1)
    plane.start()
    plane.until(lambda: [set(info.worker.split()) for info in plane.jobs()] == [{"whisper-1/1", "whisper-2/1"}])
    plane.clock.advance_s(1)
    fast[0].done([heard()])
    plane.until(lambda: turns)
    assert told(turns[0].job) == [
        ("transcribe", "whisper-1", 1, 6.1, 7.1, "another worker was quicker"),
        ("transcribe", "whisper-2", 2, 6.1, 7.1, ""),
    ]


def test_when_one_of_two_workers_dies_the_other_goes_on_and_no_third_is_asked(plane: Plane) -> None:
    _, fast, _, _ = _hedged(plane)
    _, third = plane.worker("whisper-3", "stt")
    plane.until(lambda: plane.knows_worker("whisper-3/1"))
    plane.dispatcher.worker_exited("whisper-1", "1")
    fast[0].done([heard()])
    plane.until(lambda: [plain(stored.job) for stored in plane.spool.load()] == [heard()])
    assert not third
    assert ("transcribe", "released") in plane.moved
    assert "jobs-requeued" not in plane.counted


def test_both_holders_keep_their_job_over_a_restart_of_the_dispatcher(plane: Plane) -> None:
    _, fast, slow_client, _ = _hedged(plane)
    plane.die()
    plane.start()
    _, third = plane.worker("whisper-3", "stt")
    plane.until(
        lambda: (
            plane.knows_worker("whisper-3/1") and [set(info.worker.split()) for info in plane.jobs()] == [{"whisper-1/1", "whisper-2/1"}]
        )
    )
    plane.advance(LATE_S)
    assert not third
    fast[0].done([heard()])
    plane.until(lambda: [plain(stored.job) for stored in plane.spool.load()] == [heard()])
    plane.until(lambda: slow_client.lease is not None and slow_client.lease.cancelled)


def test_an_answer_is_never_given_to_two(plane: Plane) -> None:
    _, first = plane.worker("llm-1", "llm")
    work = Answer(transcript="", role="", system="", max_tokens=1, rounds=[])
    plane.client("memory").submit(Job(turn="a", stream="mic", work=work))
    plane.until(lambda: first)
    _, second = plane.worker("llm-2", "llm")
    plane.until(lambda: plane.knows_worker("llm-2/1"))
    plane.advance(9.9)
    plane.jobs()
    assert not second


def test_a_lease_that_has_run_out_goes_to_an_idle_worker_at_once(plane: Plane) -> None:
    plane.die()
    plane.hedge_after_s = 0.0
    plane.start()
    hung_client, hung = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech())
    plane.until(lambda: hung)
    _, idle = plane.worker("whisper-2", "stt")
    plane.until(lambda: plane.knows_worker("whisper-2/1"))
    plane.advance(DEADLINE_S)
    plane.until(lambda: idle)
    plane.until(lambda: hung[0].cancelled)
    assert plane.counted == ["jobs-requeued"]
    assert hung_client.lease is hung[0]


def test_a_worker_that_never_got_its_lease_is_asked_and_gets_the_next(plane: Plane) -> None:
    client, leases = plane.worker("whisper-1", "stt")
    plane.until(lambda: plane.knows_worker("whisper-1/1"))
    plane.dispatcher._peers.tell("whisper-1/1", JobCancel(lease="lost#1"))
    plane.dispatcher._board.workers["whisper-1/1"].owes = "lost#1"
    plane.client("vad").submit(speech())
    plane.until(lambda: leases)
    assert client.lease is leases[0]


def test_a_worker_that_comes_back_with_what_is_over_gets_no_other_before_it_is_through(plane: Plane) -> None:
    slow_client, slow = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech())
    plane.until(lambda: slow)
    plane.die()
    plane.start()
    plane.spool.finish(speech().id)
    plane.dispatcher._board.remove(speech().id)
    plane.until(lambda: slow[0].cancelled)
    vad = plane.client("vad-2")
    vad.submit(speech("b"))
    plane.until(lambda: not vad.outstanding)
    assert slow_client.lease is slow[0]
    slow[0].done()
    plane.until(lambda: len(slow) == 2)


def test_a_job_that_kills_its_workers_is_given_up_and_the_others_are_done_meanwhile(plane: Plane) -> None:
    life = 0
    done: list[str] = []
    killed: list[list[str]] = []
    _, apologies = plane.worker("dialogue", "turn")
    vad = plane.client("vad")
    for turn in ("poison", "b", "c", "d"):
        vad.submit(speech(turn))
    plane.until(lambda: not vad.outstanding)
    clients = {number: plane.worker(f"whisper-{number}", "stt", str(life)) for number in (1, 2)}

    def end(turns: set[str]) -> bool:
        for lease in [lease for _, leases in clients.values() for lease in _open(leases) if lease.job.turn in turns]:
            done.append(lease.job.turn)
            lease.done()
        return turns <= {*done}

    while not apologies:
        plane.until(lambda: apologies or any(_open(leases) for _, leases in clients.values()))
        for number, (client, leases) in list(clients.items()):
            for lease in _open(leases):
                if lease.job.turn == "poison":
                    at_work = {info.turn for info in plane.jobs() if info.state == "leased"} - {"poison"}
                    plane.until(partial(end, at_work))  # the other worker may have one just now
                    life += 1
                    killed.append(list(done))
                    plane.clients.remove(client)
                    client.socket.close(linger=0)
                    plane.dispatcher.worker_exited(f"whisper-{number}", client._stamp.incarnation)
                    clients[number] = plane.worker(f"whisper-{number}", "stt", str(life))
                else:
                    done.append(lease.job.turn)
                    lease.done()
    plane.until(lambda: len(done) == 3)
    assert len(killed) == 3
    assert sorted(killed[-1]) == ["b", "c", "d"]  # all the others were done before it got its last chance
    assert [(info.turn, info.attempts) for info in plane.jobs() if info.state == "parked"] == [("poison", 3)]


def test_what_cannot_be_taken_because_too_much_is_open_is_told_once_and_counted_and_taken_later(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.dispatcher.MAX_OPEN_JOBS", 1)
    refused: list[tuple[str, str]] = []
    vad = JobClient(
        plane.context, plane.addresses.jobs, Stamp("vad", "1"), on_refused=lambda job, reason: refused.append((job.turn, reason))
    )
    plane.clients.append(vad)
    vad.submit(speech("a"))
    plane.until(lambda: not vad.outstanding)
    vad.submit(speech("b"))
    plane.until(lambda: refused)
    for _ in range(2):
        before = len(plane.counted)
        vad.resend()
        plane.until(lambda: len(plane.counted) > before)  # noqa: B023 - used before it changes
    assert refused == [("b", "1 jobs are open already")]
    assert set(plane.counted) == {"jobs-refused-full"}
    assert len(plane.troubles) == 1
    monkeypatch.setattr("bus.dispatcher.MAX_OPEN_JOBS", MAX_OPEN_JOBS)
    vad.resend()
    plane.until(lambda: not vad.outstanding)
    assert plane.troubles[1:] == [""]


@pytest.mark.parametrize("seed", range(8))
def test_whatever_dies_or_is_late_each_job_is_done_once(plane: Plane, seed: int) -> None:
    """Real clients, a real spool, random lateness and deaths: each transcription brings one `heard`, and each of them is done once."""
    chance = random.Random(seed)
    results: Counter[str] = Counter()
    workers: dict[str, tuple[JobClient, list[Lease]]] = {}
    lives = 0

    def start(name: str, queue: str) -> None:
        nonlocal lives
        lives += 1
        workers[name] = plane.worker(name, queue, str(lives))

    queues = {"whisper-1": "stt", "whisper-2": "stt", "whisper-3": "stt", "dialogue": "turn"}
    for name, queue in queues.items():
        start(name, queue)
    vad = plane.client("vad")
    submitted = [f"t{number}" for number in range(6)]
    for turn in submitted:
        vad.submit(speech(turn))
    plane.dispatcher._board.max_attempts = 100  # deaths alone must not end a job here
    for _ in range(60):
        name = chance.choice(list(queues))
        client, leases = workers[name]
        match chance.choice(["end", "end", "end", "time", "time", "fail", "die", "restart"]):
            case "end":
                for lease in _open(leases):
                    _tells_of_each_lease_once(lease.job)
                    lease.done([_follow_up(lease)] if lease.job.stage == "transcribe" else [])
                    results[lease.id] += 1
            case "fail":
                for lease in _open(leases):
                    lease.failed("no luck", retry=True)
            case "time":
                plane.advance(chance.choice([1.0, LATE_S, DEADLINE_S]))
            case "die":
                plane.clients.remove(client)
                client.socket.setsockopt(17, 0)
                client.close()
                start(name, queues[name])
            case "restart":
                plane.die()
                plane.start()
                plane.dispatcher._board.max_attempts = 100
        plane.pump(chance.randrange(20))

    def settle() -> bool:
        for _, leases in workers.values():
            for lease in _open(leases):
                _tells_of_each_lease_once(lease.job)
                lease.done([_follow_up(lease)] if lease.job.stage == "transcribe" else [])
        plane.advance(0.5)
        return not vad.outstanding and not plane.spool.load()

    plane.until(settle)
    done = Counter(job_id for job_id, state in plane.moved_ids if state == "done")
    assert done == Counter({f"{turn}/{stage}/0": 1 for turn in submitted for stage in ("transcribe", "heard")})
    assert not plane.spool.parked()


def _tells_of_each_lease_once(job: Job) -> None:
    """Of the job's own attempts before this one all were lost; of the transcription that it followed from, all but the last."""
    own = [past for past in job.history if past.stage == job.stage]
    before = [past for past in job.history if past.stage != job.stage]
    for attempts in (own, before):
        assert sorted(past.number for past in attempts) == list(range(1, len(attempts) + 1))
    assert all(past.lost for past in own)
    assert [not past.lost for past in before] == ([*[False] * (len(before) - 1), True] if job.stage == "heard" else [])


def _follow_up(lease: Lease) -> Job:
    return Job(turn=lease.job.turn, stream="mic", work=Heard(transcript=str(lease.attempt)))


def _open(leases: list[Lease]) -> list[Lease]:
    return [lease for lease in leases if not lease.ended]


def _hedged(plane: Plane) -> tuple[list[Lease], list[Lease], JobClient, JobClient]:
    """One job in the hands of two workers."""
    slow_client, slow = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech())
    plane.until(lambda: slow)
    fast_client, fast = plane.worker("whisper-2", "stt")
    plane.until(lambda: plane.knows_worker("whisper-2/1"))
    plane.advance(LATE_S)
    plane.until(lambda: fast)
    return slow, fast, slow_client, fast_client
