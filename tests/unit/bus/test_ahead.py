"""Work ahead of time over real sockets and a real spool: what was done counts once it is wanted, and nothing hangs on it."""

from __future__ import annotations

import msgspec
import pytest

from bus.jobs import JobClient, Lease, Unwanted
from bus.messages.jobs import Answer, Heard, Job, Remember, Transcribe
from tests.unit.bus.plane import Plane, plain, speech

PCM = b"sound"


def heard(turn: str = "a", text: str = "hello") -> Job:
    return Job(turn=turn, stream="mic", work=Heard(transcript=text))


def answer(turn: str = "a") -> Job:
    return Job(turn=turn, stream="mic", work=Answer(transcript="hello", role="plain", system="", max_tokens=64, rounds=[]))


def remember(turn: str = "a") -> Job:
    return Job(turn=turn, stream="mic", work=Remember(role="plain", state="answered", transcript="hello", reply="Hi."))


def marked(job: Job, **marks: int) -> Job:
    return msgspec.structs.replace(job, marks=marks)


def ear(plane: Plane) -> JobClient:
    client = plane.client("vad")
    plane.until(lambda: client.connected)
    return client


def begun(plane: Plane, queue: str = "stt") -> tuple[JobClient, JobClient, list[Lease]]:
    """An ear whose turn `a` is being transcribed ahead of time."""
    worker, leases = plane.worker("whisper-1", queue)
    client = ear(plane)
    client.speculate(speech(), PCM)
    plane.until(lambda: leases)
    return client, worker, leases


def open_jobs(plane: Plane) -> list[Job]:
    return [plain(stored.job) for stored in plane.spool.load()]


def test_work_ahead_is_leased_with_its_sound_and_nothing_of_it_is_written_down(plane: Plane) -> None:
    _, worker, (lease,) = begun(plane)
    assert (lease.job, lease.payload, lease.attempt, lease.ahead) == (speech(), PCM, 0, "speculative")
    lease.done([heard()])
    plane.until(lambda: not worker.outstanding)
    assert open_jobs(plane) == []
    assert plane.jobs() == []


def test_a_result_that_is_there_before_the_turn_is_wanted_is_not_made_twice(plane: Plane) -> None:
    vad, worker, leases = begun(plane)
    leases[0].done([heard()])
    plane.until(lambda: not worker.outstanding)
    vad.submit(marked(speech(), committed=5), PCM)
    plane.until(lambda: not vad.outstanding)
    assert open_jobs(plane) == [marked(heard(), committed=5)]
    assert plane.spool.knows(speech().id)
    _, turns = plane.worker("dialogue", "turn")
    plane.until(lambda: turns)
    assert (turns[0].ahead, turns[0].attempt) == ("", 1)
    assert [past.worker for past in turns[0].job.history] == ["whisper-1"]
    assert len(leases) == 1


def test_a_worker_that_was_done_before_the_commit_hears_of_it(plane: Plane) -> None:
    committed: list[tuple[str, Job]] = []
    leases: list[Lease] = []
    worker = plane.client("whisper-1")
    worker.work("stt", leases.append, lambda lease, job: committed.append((lease, job)))
    vad = ear(plane)
    vad.speculate(speech(), PCM)
    plane.until(lambda: leases)
    leases[0].done([heard()])
    plane.until(lambda: not worker.outstanding)
    vad.submit(marked(speech(), committed=5), PCM)
    plane.until(lambda: committed)
    assert committed == [(leases[0].id, marked(speech(), committed=5))]


def test_a_turn_that_is_wanted_while_it_is_worked_on_stays_in_the_same_hands(plane: Plane) -> None:
    vad, worker, leases = begun(plane)
    wanted: list[str] = []
    leases[0].on_commit = lambda: wanted.append(leases[0].ahead)
    vad.submit(marked(speech(), committed=5), PCM)
    plane.until(lambda: wanted and not vad.outstanding)
    assert wanted == [""]
    assert leases[0].job.marks == {"committed": 5}
    (stored,) = plane.spool.load()
    assert (stored.attempts, stored.holders) == (0, {"whisper-1/1": 0})
    leases[0].done([heard()])
    plane.until(lambda: not worker.outstanding)
    assert open_jobs(plane) == [marked(heard(), committed=5)]
    assert len(leases) == 1


def test_a_result_that_crosses_with_the_commit_has_the_marks_of_the_submission_too(plane: Plane) -> None:
    vad, worker, leases = begun(plane)
    job = leases[0].job  # a worker that decodes does not read of the commit until it is through
    vad.submit(marked(speech(), committed=5), PCM)
    plane.until(lambda: not vad.outstanding)
    leases[0].done([marked(msgspec.structs.replace(heard(), revision=job.revision), transcribed=7)])
    plane.until(lambda: not worker.outstanding)
    assert open_jobs(plane) == [marked(heard(), committed=5, transcribed=7)]


@pytest.mark.parametrize("without", ["the worker, which others needed", "the dispatcher, which died"])
def test_a_result_that_comes_after_the_commit_without_a_lease_is_taken_and_its_worker_hears_of_the_commit(
    plane: Plane, without: str
) -> None:
    committed: list[str] = []
    leases: list[Lease] = []
    worker = plane.client("whisper-1")
    worker.work("stt", leases.append, lambda lease, _: committed.append(lease))
    vad = ear(plane)
    vad.speculate(speech(), PCM)
    plane.until(lambda: leases)
    if without == "the dispatcher, which died":
        plane.die()
        plane.start()
    else:
        vad.submit(speech("b", stream="other"), PCM)
        plane.until(lambda: leases[0].cancelled)
    vad.submit(speech(), PCM)
    plane.until(lambda: not vad.outstanding)
    leases[0].done([heard()])  # the decoding could not be interrupted
    plane.until(lambda: committed)
    assert committed == [leases[0].id]
    assert plane.spool.knows(heard().id)


def test_a_committed_job_whose_worker_dies_goes_to_another_with_all_its_attempts(plane: Plane) -> None:
    vad, _, _ = begun(plane)
    vad.submit(speech(), PCM)
    plane.until(lambda: not vad.outstanding)
    plane.dispatcher.worker_exited("whisper-1", "1")
    _, others = plane.worker("whisper-2", "stt")
    plane.advance(1)
    plane.until(lambda: others)
    assert (others[0].attempt, others[0].payload) == (1, PCM)


def test_a_worker_that_is_late_with_what_it_began_ahead_of_time_is_helped_as_any_other(plane: Plane) -> None:
    vad, _, leases = begun(plane)
    plane.advance(3)
    vad.submit(speech(), PCM)
    plane.until(lambda: not vad.outstanding)
    _, others = plane.worker("whisper-2", "stt")
    plane.until(lambda: plane.knows_worker("whisper-2/1"))
    plane.advance(4.9)  # the five seconds count from the commit
    plane.pump(5)
    assert others == []
    plane.advance(0.2)
    plane.until(lambda: others)
    assert (others[0].attempt, others[0].payload) == (1, PCM)
    others[0].done([heard()])
    plane.until(lambda: leases[0].cancelled)
    assert open_jobs(plane) == [heard()]
    assert "jobs-hedged" in plane.counted


def test_after_a_death_of_the_dispatcher_the_worker_of_a_committed_job_may_go_on(plane: Plane) -> None:
    vad, worker, leases = begun(plane)
    vad.submit(speech(), PCM)
    plane.until(lambda: not vad.outstanding)
    plane.die()
    plane.start()
    plane.until(lambda: plane.knows_worker("whisper-1/1"))
    plane.advance(5)
    plane.pump(5)
    assert (len(leases), leases[0].cancelled) == (1, False)
    leases[0].done([heard()])
    plane.until(lambda: not worker.outstanding)
    assert open_jobs(plane) == [heard()]


def test_a_commit_that_was_written_down_by_a_dispatcher_that_died_of_it_is_told_by_the_next(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    vad, worker, leases = begun(plane)
    wanted: list[int] = []
    leases[0].on_commit = lambda: wanted.append(leases[0].job.marks["committed"])
    with monkeypatch.context() as dying:
        dying.setattr(plane.dispatcher._peers, "tell", lambda *_: True)
        vad.submit(marked(speech(), committed=5), PCM)
        plane.until(lambda: not vad.outstanding)
    plane.pump(5)
    assert not wanted
    plane.die()
    plane.start()
    plane.until(lambda: wanted)
    plane.die()
    plane.start()
    plane.until(lambda: plane.knows_worker("whisper-1/1"))
    plane.pump(5)
    assert (wanted, leases[0].cancelled, len(leases)) == ([5], False, 1)
    leases[0].done([heard()])
    plane.until(lambda: not worker.outstanding)
    assert open_jobs(plane) == [marked(heard(), committed=5)]


def test_after_a_death_of_the_dispatcher_the_turn_is_done_as_if_nothing_had_been_ahead(plane: Plane) -> None:
    vad, worker, leases = begun(plane)
    plane.die()
    plane.start()
    plane.until(lambda: leases[0].cancelled)
    vad.submit(speech(), PCM)
    plane.until(lambda: not vad.outstanding)
    leases[0].failed("stopped", retry=False)
    plane.until(lambda: len(leases) == 2)
    assert (leases[1].attempt, leases[1].ahead) == (1, "")
    leases[1].done([heard()])
    plane.until(lambda: not worker.outstanding)
    assert open_jobs(plane) == [heard()]


def test_speech_that_goes_on_makes_the_work_stale_and_its_worker_is_told(plane: Plane) -> None:
    vad, worker, leases = begun(plane)
    vad.withdraw("a")
    plane.until(lambda: leases[0].cancelled)
    leases[0].done([heard()])  # it could not be interrupted
    plane.until(lambda: not worker.outstanding)
    longer = msgspec.structs.replace(speech(), revision=7)
    vad.submit(longer, PCM)
    plane.until(lambda: len(leases) == 2)
    assert leases[1].job == longer
    assert plane.counted == []


def test_a_newer_revision_takes_the_place_of_the_older_one(plane: Plane) -> None:
    vad, worker, leases = begun(plane)
    longer = msgspec.structs.replace(speech(), revision=7)
    vad.speculate(longer, PCM * 2)
    plane.until(lambda: leases[0].cancelled)
    leases[0].done([heard()])
    plane.until(lambda: len(leases) == 2)
    assert (leases[1].job, leases[1].payload) == (longer, PCM * 2)
    leases[1].done([msgspec.structs.replace(heard(text="hello again"), revision=7)])
    vad.submit(longer, PCM * 2)
    plane.until(lambda: not vad.outstanding and not worker.outstanding)
    assert [job.work for job in open_jobs(plane)] == [Heard(transcript="hello again")]


def test_the_whole_way_to_the_answer_can_be_gone_ahead_and_is_committed_as_one(plane: Plane) -> None:
    vad, _, leases = begun(plane)
    _, turns = plane.worker("dialogue", "turn")
    bridge, answers = plane.worker("llm", "llm")
    leases[0].done([marked(heard(), transcribed=3)])
    plane.until(lambda: turns)
    assert turns[0].ahead == "speculative"
    turns[0].done([marked(answer(), transcribed=3)])
    plane.until(lambda: answers)
    assert answers[0].ahead == "speculative"
    assert open_jobs(plane) == []
    vad.submit(marked(speech(), committed=5), PCM)
    plane.until(lambda: not answers[0].ahead)
    assert answers[0].job.marks == {"transcribed": 3, "committed": 5}
    assert all(plane.spool.knows(job.id) for job in (speech(), heard()))
    answers[0].done([remember()])
    plane.until(lambda: not bridge.outstanding)
    assert open_jobs(plane) == [marked(remember(), transcribed=3, committed=5)]


def test_who_declines_gets_the_job_at_the_commit(plane: Plane) -> None:
    vad, _, leases = begun(plane)
    dialogue, turns = plane.worker("dialogue", "turn")
    leases[0].done([heard()])
    plane.until(lambda: turns)
    turns[0].decline()
    plane.until(lambda: not dialogue.outstanding)
    plane.pump(5)
    assert len(turns) == 1
    vad.submit(speech(), PCM)
    plane.until(lambda: len(turns) == 2)
    assert (turns[1].ahead, turns[1].attempt) == ("", 1)


def test_work_ahead_waits_for_the_earlier_turn_of_its_stream(plane: Plane) -> None:
    vad, _, leases = begun(plane)
    vad.submit(msgspec.structs.replace(remember("earlier"), stream="mic"))
    plane.until(lambda: not vad.outstanding)
    _, turns = plane.worker("dialogue", "turn")
    leases[0].done([heard()])
    plane.pump(10)
    assert turns == []
    _, memories = plane.worker("memory", "memory")
    plane.until(lambda: memories)
    memories[0].done()
    plane.until(lambda: turns)


def test_what_was_done_too_early_for_the_order_of_turns_is_done_again(plane: Plane) -> None:
    vad, _, leases = begun(plane)
    _, turns = plane.worker("dialogue", "turn")
    _, answers = plane.worker("llm", "llm")
    leases[0].done([heard()])
    plane.until(lambda: turns)
    turns[0].done([answer()])
    plane.until(lambda: answers)
    other = plane.client("other")
    other.submit(remember("earlier"))  # it was on its way when the later turn was speculated
    plane.until(lambda: not other.outstanding)
    vad.submit(speech(), PCM)
    plane.until(lambda: answers[0].cancelled)
    assert sorted(job.stage for job in open_jobs(plane)) == ["heard", "remember"]


def test_what_is_wanted_takes_the_worker_from_what_is_not(plane: Plane) -> None:
    vad, _, leases = begun(plane)
    vad.submit(speech("b", stream="other"), PCM)
    plane.until(lambda: leases[0].cancelled)
    leases[0].done([heard()])  # it was nearly through, and that counts
    plane.until(lambda: len(leases) == 2)
    assert leases[1].job.turn == "b"
    vad.submit(speech("a"), PCM)
    plane.until(lambda: not vad.outstanding)
    assert "heard" in {job.stage for job in open_jobs(plane)}


def test_what_had_to_make_room_is_done_ahead_as_soon_as_there_is_some(plane: Plane) -> None:
    vad, _, leases = begun(plane)
    vad.submit(speech("b", stream="other"), PCM)
    plane.until(lambda: leases[0].cancelled)
    leases[0].decline()
    plane.until(lambda: len(leases) == 2)
    assert (leases[1].job.turn, leases[1].ahead) == ("b", "")
    leases[1].done()
    plane.until(lambda: len(leases) == 3)
    assert (leases[2].job.turn, leases[2].ahead, leases[2].payload) == ("a", "speculative", PCM)


def test_in_the_middle_of_its_work_a_worker_learns_that_it_is_called_off_and_of_the_rest_afterwards(plane: Plane) -> None:
    vad = ear(plane)
    told: list[str] = []

    def work(lease: Lease) -> None:
        worker.submit(heard("b"), on_accepted=lambda _revision: told.append("accepted"))
        vad.withdraw("a")
        with pytest.raises(Unwanted, match="nobody waits"):
            plane.until_served(lease.check)
        told.append("called off")
        lease.decline()

    worker = plane.client("whisper-1")
    worker.work("stt", work)
    vad.speculate(speech(), PCM)
    plane.until(lambda: len(told) == 2)
    assert told == ["called off", "accepted"]


def test_a_worker_whose_work_is_wanted_meanwhile_goes_on(plane: Plane) -> None:
    vad = ear(plane)
    finished: list[str] = []

    def work(lease: Lease) -> None:
        vad.submit(speech(), PCM)

        def is_committed() -> bool:
            lease.check()
            return not lease.ahead

        plane.until_served(is_committed)
        lease.done([heard()])
        finished.append(lease.job.turn)

    worker = plane.client("whisper-1")
    worker.work("stt", work)
    vad.speculate(speech(), PCM)
    plane.until(lambda: finished and not vad.outstanding and not worker.outstanding)
    assert [job.stage for job in open_jobs(plane)] == ["heard"]


def test_a_partial_never_takes_the_last_idle_worker(plane: Plane) -> None:
    _, one = plane.worker("whisper-1", "stt")
    vad = ear(plane)
    plane.until(lambda: plane.knows_worker("whisper-1/1"))
    vad.speculate(speech(), PCM, partial=True)
    plane.pump(10)
    assert one == []
    _, two = plane.worker("whisper-2", "stt")
    plane.until(lambda: one or two)
    (lease,) = one + two
    assert lease.ahead == "partial"
    vad.speculate(msgspec.structs.replace(speech(), revision=4), PCM)
    plane.until(lambda: len(one + two) == 2 and lease.cancelled)


def test_a_turn_that_is_in_the_spool_is_not_speculated_about_any_more(plane: Plane) -> None:
    vad = ear(plane)
    vad.submit(speech(), PCM)
    plane.until(lambda: not vad.outstanding)
    vad.speculate(msgspec.structs.replace(speech(), revision=4), PCM)
    _, leases = plane.worker("whisper-1", "stt")
    _, others = plane.worker("whisper-2", "stt")
    plane.until(lambda: leases or others)
    plane.pump(10)
    assert [lease.job for lease in leases + others] == [speech()]


def test_a_turn_whose_speech_is_there_already_is_not_taken_twice_and_the_submitter_learns_how_much_of_it(plane: Plane) -> None:
    vad = ear(plane)
    accepted: list[int] = []
    vad.submit(msgspec.structs.replace(speech(), revision=5), PCM, accepted.append)
    vad.submit(msgspec.structs.replace(speech(), revision=9), PCM, accepted.append)
    plane.until(lambda: len(accepted) == 2)
    assert accepted == [5, 5]
    assert [stored.job.revision for stored in plane.spool.load()] == [5]


@pytest.mark.parametrize("end", ["failed", "died", "stopped", "ran out"])
def test_when_the_work_ahead_comes_to_nothing_the_turn_is_done_at_its_time(plane: Plane, end: str) -> None:
    vad, worker, leases = begun(plane)
    match end:
        case "failed":
            leases[0].failed("no luck", retry=True)
            plane.until(lambda: not worker.outstanding)
        case "died":
            plane.dispatcher.worker_exited("whisper-1", "1")
        case "stopped":
            plane.clients.remove(worker)
            worker.close()
            plane.until(lambda: not plane.knows_worker("whisper-1/1"))
        case "ran out":
            plane.advance(21)
            plane.until(lambda: leases[0].cancelled)
    _, others = plane.worker("whisper-2", "stt")
    plane.until(lambda: plane.knows_worker("whisper-2/1"))
    plane.pump(5)
    assert others == []
    vad.submit(speech(), PCM)
    plane.until(lambda: others or len(leases) == 2)
    assert [lease.attempt for lease in others + leases[1:]] == [1]


def test_a_full_disk_at_the_commit_loses_only_what_was_done_ahead(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    vad, worker, leases = begun(plane)
    real = plane.spool.add

    def full(*_arguments: object, **_options: object) -> tuple[int, int]:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(plane.spool, "add", full)
    vad.submit(speech(), PCM)
    plane.until(lambda: leases[0].cancelled)
    monkeypatch.setattr(plane.spool, "add", real)
    leases[0].failed("stopped", retry=False)
    plane.until(lambda: not worker.outstanding)
    vad.resend()
    plane.until(lambda: not vad.outstanding and len(leases) == 2)
    assert open_jobs(plane) == [speech()]
    assert leases[1].ahead == ""


def test_of_a_flood_of_speculations_only_the_newest_are_kept(plane: Plane) -> None:
    vad = ear(plane)
    for number in range(150):
        vad.speculate(speech(f"turn-{number}", stream=f"s{number}"), PCM)
    _, leases = plane.worker("whisper-1", "stt")
    plane.until(lambda: leases)
    assert isinstance(leases[0].job.work, Transcribe)
