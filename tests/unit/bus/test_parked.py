"""Given-up jobs: put back by the user or dropped, through the dispatcher, and never more than so many."""

from __future__ import annotations

import sqlite3

import msgspec
import pytest

from bus.codec import Stamp
from bus.errors import EarshotError
from bus.jobs import ask_dispatcher
from bus.messages.base import Body
from bus.messages.jobs import Answer, Attempt, Heard, Job, ParkedDrop, ParkedRetry, ParkedSettled, Remember, Say
from bus.timings import RETRIED
from tests.unit.bus.plane import Plane, speech


def park(plane: Plane, job: Job, payload: bytes | None = None) -> None:
    """Have a job given up, and its notice done."""
    queue = job.queue
    name = f"worker-of-{queue}"
    client, leases = plane.worker(name, queue)
    vad = plane.client("vad")
    vad.submit(job, payload)
    plane.until(lambda: leases)
    leases[0].failed("no luck", retry=False)
    _, notices = plane.worker("dialogue", "turn")
    plane.until(lambda: notices or leases[1:])
    [*leases[1:], *notices][0].done()
    plane.until(lambda: not plane.spool.load() and not client.outstanding)
    for gone in plane.clients:
        gone.close()
    plane.clients.clear()
    for key in (f"{name}/1", "dialogue/1"):
        plane.dispatcher.worker_exited(*key.split("/"))


def ask(plane: Plane, body: Body) -> list[str]:
    answer = plane.ask(lambda: ask_dispatcher(plane.context, plane.addresses.jobs, Stamp("cli", "1"), body, ParkedSettled, timeout_s=10.0))
    return answer.job_ids


PAST = Attempt(stage="transcribe", worker="whisper-1", number=1, leased_ns=3, ended_ns=4, lost="no luck")


def test_a_retried_job_is_a_new_revision_with_its_sound_and_all_attempts_before_it(plane: Plane) -> None:
    park(plane, msgspec.structs.replace(speech(), history=[PAST]), b"pcm")
    assert ask(plane, ParkedRetry(job_ids=["a/transcribe/0"])) == ["a/transcribe/0"]
    _, leases = plane.worker("whisper-1", "stt", "9")
    plane.until(lambda: leases)
    job = leases[0].job
    assert (job.id, job.work, leases[0].payload, leases[0].attempt) == ("a/transcribe/1", speech().work, b"pcm", 1)
    assert list(job.marks) == [RETRIED]
    assert job.history == []  # as its times, it begins anew
    assert leases[0].reply_number > 1000  # newer than the apology
    assert plane.spool.parked() == []
    assert plane.moved[-2:] == [("transcribe", "retried"), ("transcribe", "leased")]


def test_what_follows_a_retried_job_is_no_repetition_even_where_a_later_stage_was_retried_before(plane: Plane) -> None:
    answer = Answer(transcript="hello", role="", system="", max_tokens=1, rounds=[])
    park(plane, Job(turn="a", stream="mic", work=answer))
    park(plane, Job(turn="a", stream="mic", work=Remember(role="", state="failed", transcript="", reply="")))
    assert len(ask(plane, ParkedRetry(job_ids=["a/remember/0", "a/answer/0"]))) == 2
    revisions = {stored.job.stage: stored.job.revision for stored in plane.spool.load()}
    assert len(set(revisions.values())) == 2
    assert min(revisions.values()) > 0


def test_a_turn_that_was_only_to_be_remembered_is_no_late_answer(plane: Plane) -> None:
    work = Remember(role="", state="answered", transcript="", reply="")
    park(plane, Job(turn="a", stream="mic", work=work, marks={"committed": 3}, history=[PAST]))
    ask(plane, ParkedRetry(job_ids=["a/remember/0"]))
    (stored,) = plane.spool.load()
    assert (stored.job.marks, stored.job.history) == ({"committed": 3}, [PAST])


def test_a_worker_may_have_jobs_retried_that_failed_of_what_is_over(plane: Plane) -> None:
    park(plane, speech())
    client, leases = plane.worker("whisper-1", "stt", "9")
    client.retry_parked([speech().id])
    plane.until(lambda: leases)
    assert leases[0].job.id == "a/transcribe/1"
    leases[0].done()
    plane.until(lambda: not client.outstanding)
    assert plane.bad == []


def test_a_retried_turn_waits_behind_those_that_are_under_way_and_they_do_not_wait_for_it(plane: Plane) -> None:
    park(plane, Job(turn="old", stream="mic", work=Heard(transcript="hello")))
    vad = plane.client("vad")
    vad.submit(speech("new"))
    plane.until(lambda: not vad.outstanding)
    ask(plane, ParkedRetry(job_ids=["old/heard/0"]))
    _, turns = plane.worker("dialogue", "turn", "9")
    _, leases = plane.worker("whisper-1", "stt", "9")
    plane.until(lambda: leases)
    leases[0].done([Job(turn="new", stream="mic", work=Heard(transcript="hi"))])
    plane.until(lambda: turns)
    assert turns[0].job.turn == "new"
    turns[0].done()
    plane.until(lambda: len(turns) == 2)
    assert turns[1].job.turn == "old"


def test_a_dropped_job_is_gone_with_what_was_said_and_a_repetition_of_it_is_not_new(plane: Plane) -> None:
    park(plane, speech(), b"what was said" * 100)
    assert ask(plane, ParkedDrop(job_ids=["a/transcribe/0", "stranger/answer/0"])) == ["a/transcribe/0"]
    assert plane.jobs() == []
    assert not any(b"what was said" in path.read_bytes() for path in plane.addresses.state_dir.iterdir() if path.is_file())
    assert plane.counted[-1] == "parked-dropped"
    vad = plane.client("vad")
    vad.submit(speech())
    plane.until(lambda: not vad.outstanding)
    assert plane.spool.load() == []


def test_what_is_not_parked_is_neither_retried_nor_dropped(plane: Plane) -> None:
    vad = plane.client("vad")
    vad.submit(speech())
    plane.until(lambda: not vad.outstanding)
    assert ask(plane, ParkedRetry(job_ids=["a/transcribe/0"])) == []
    assert ask(plane, ParkedDrop(job_ids=["a/transcribe/0"])) == []
    assert [stored.job for stored in plane.spool.load()] == [speech()]


def test_a_command_that_the_disk_does_not_let_us_do_says_so(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    park(plane, speech())
    monkeypatch.setattr(plane.spool, "finish", full)
    with pytest.raises(EarshotError, match="the spool cannot be used"):
        ask(plane, ParkedRetry(job_ids=["a/transcribe/0"]))
    assert [stored.job for stored in plane.spool.parked()] == [speech()]
    assert plane.spool.load() == []


def test_the_oldest_given_up_job_makes_room_for_the_next_and_is_counted(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.given_up.MAX_PARKED", 2)
    for turn in ("a", "b", "c"):
        park(plane, speech(turn))
    assert [stored.job.turn for stored in plane.spool.parked()] == ["b", "c"]
    assert plane.counted.count("parked-dropped") == 1
    assert ("a/transcribe/0", "dropped") in plane.moved_ids


def test_a_job_that_is_given_up_again_after_a_retry_is_told_again(plane: Plane) -> None:
    park(plane, speech())
    ask(plane, ParkedRetry(job_ids=["a/transcribe/0"]))
    _, leases = plane.worker("whisper-1", "stt", "9")
    _, turns = plane.worker("dialogue", "turn", "9")
    plane.until(lambda: leases)
    leases[0].failed("no luck", retry=False)
    plane.until(lambda: turns)
    assert turns[0].job.id == "a/parked/1"
    assert [info.job_id for info in plane.jobs() if info.state == "parked"] == ["a/transcribe/1"]


def test_a_reply_that_cannot_be_spoken_is_remembered_as_it_was_shown_and_nobody_apologises(plane: Plane) -> None:
    then = Remember(role="plain", state="answered", transcript="why", reply="Because.", detail="length")
    job = Job(turn="a", stream="mic", work=Say(attempt=10_001, then=then))
    _, turns = plane.worker("dialogue", "turn")
    _, ends = plane.worker("memory", "memory")
    client, leases = plane.worker("tts", "say")
    client.submit(job)
    plane.until(lambda: leases)
    leases[0].failed("it broke", retry=False)
    plane.until(lambda: ends)
    assert ends[0].job.work == msgspec.structs.replace(then, detail="length; not spoken: it broke")
    assert not turns
    assert plane.spool.parked() == []


def test_what_was_to_be_spoken_when_the_voice_was_switched_off_is_remembered_and_holds_nobody_up(plane: Plane) -> None:
    then = Remember(role="plain", state="answered", transcript="why", reply="Because.")
    client = plane.client("dialogue")
    client.submit(Job(turn="a", stream="mic", work=Say(attempt=10_001, then=then)))
    plane.until(lambda: not client.outstanding)
    plane.unserved = ("say",)
    plane.begin_next_run()
    _, ends = plane.worker("memory", "memory")
    plane.until(lambda: ends)
    assert ends[0].job.work == msgspec.structs.replace(then, detail="not spoken: there is no worker for it")
