"""The job plane over real sockets and a real spool: dispatcher and clients in one thread, pumped by hand."""

from __future__ import annotations

import sqlite3

import pytest
import zmq

from bus.codec import Stamp
from bus.messages.jobs import Answer, Heard, Job, JobFailed, JobMoved, Recall
from tests.unit.bus.plane import Plane, heard, plain, speech, told


def test_a_submitted_job_reaches_a_worker_with_its_sound(plane: Plane) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    accepted: list[int] = []
    plane.client("vad").submit(speech(), b"pcm", accepted.append)
    plane.until(lambda: leases and accepted)
    assert (leases[0].job, leases[0].payload, leases[0].attempt) == (speech(), b"pcm", 1)


def test_jobs_come_into_the_spool_in_the_order_of_their_submission_whenever_the_dispatcher_dies(plane: Plane) -> None:
    vad = plane.client("vad")
    vad.submit(speech("first"))
    plane.until(lambda: not vad.outstanding)
    vad.submit(speech("on its way"))  # into a dispatcher that does not read it any more
    plane.die()
    vad.submit(speech("behind it"))
    vad.submit(speech("last"))
    plane.start()
    plane.until(lambda: not vad.outstanding)
    assert [stored.job.turn for stored in plane.spool.load()] == ["first", "on its way", "behind it", "last"]


def test_the_end_of_a_job_brings_its_follow_up_in_the_same_step(plane: Plane) -> None:
    client, leases = plane.worker("whisper-1", "stt")
    _, turns = plane.worker("dialogue", "turn")
    plane.client("vad").submit(speech())
    plane.until(lambda: leases)
    leases[0].done([heard()])
    plane.until(lambda: turns and not client.outstanding)
    assert plain(turns[0].job) == heard()
    assert [plain(stored.job) for stored in plane.spool.load()] == [heard()]


def test_submitting_twice_is_submitting_once_even_after_it_is_done(plane: Plane) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    vad = plane.client("vad")
    for _ in range(2):
        vad.submit(speech())
        plane.until(lambda: not vad.outstanding and leases)
        if not leases[0].ended:
            leases[0].done()
    plane.until(lambda: not plane.spool.load())
    vad.submit(speech())
    plane.until(lambda: not vad.outstanding)
    assert len(leases) == 1


def test_a_job_whose_worker_died_goes_to_its_successor(plane: Plane) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech())
    plane.until(lambda: leases)
    _, again = plane.worker("whisper-1", "stt", incarnation="2")
    plane.until(lambda: again)
    assert (plain(again[0].job), again[0].attempt) == (speech(), 2)


def test_a_result_that_comes_after_all_counts_once(plane: Plane) -> None:
    slow_client, slow = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech())
    plane.until(lambda: slow)
    fast_client, fast = plane.worker("whisper-2", "stt")
    plane.clock.advance_s(100)
    plane.dispatcher.tick()
    plane.until(lambda: fast)
    slow[0].done([heard()])
    plane.until(lambda: not slow_client.outstanding)
    fast[0].done([Job(turn="a", stream="mic", work=Heard(transcript="another"))])
    plane.until(lambda: not fast_client.outstanding)
    assert [plain(stored.job) for stored in plane.spool.load()] == [heard()]


def test_after_its_attempts_a_job_is_parked_and_the_user_is_told(plane: Plane) -> None:
    client, leases = plane.worker("whisper-1", "stt")
    _, turns = plane.worker("dialogue", "turn")
    plane.client("vad").submit(speech())
    for attempt in range(1, 4):
        plane.until(lambda: leases and leases[-1].attempt == attempt)  # noqa: B023 - used before it changes
        leases[-1].failed("no luck", retry=True)
        plane.until(lambda: not client.outstanding)
        plane.clock.advance_s(1)
        plane.dispatcher.tick()
    plane.until(lambda: turns)
    assert (turns[0].job.stage, turns[0].job.turn) == ("parked", "a")
    (info,) = [info for info in plane.jobs() if info.state == "parked"]
    assert (info.stage, info.reason, info.attempts) == ("transcribe", "no luck", 3)


def test_a_failure_that_cannot_be_mended_is_parked_at_once(plane: Plane) -> None:
    _, leases = plane.worker("llm", "llm")
    _, turns = plane.worker("dialogue", "turn")
    answer = Answer(transcript="hello", role="plain", system="", max_tokens=64, rounds=[])
    plane.client("memory").submit(Job(turn="a", stream="mic", work=answer, marks={"committed": 7}))
    plane.until(lambda: leases)
    leases[0].failed("no such model", retry=False)
    plane.until(lambda: turns)
    assert getattr(turns[0].job.work, "transcript", "") == "hello"
    assert turns[0].job.marks == {"committed": 7}


def test_a_restarted_dispatcher_has_every_job_and_the_worker_keeps_its_lease(plane: Plane) -> None:
    client, leases = plane.worker("whisper-1", "stt")
    _, turns = plane.worker("dialogue", "turn")
    vad = plane.client("vad")
    vad.submit(speech())
    plane.until(lambda: leases and not vad.outstanding)
    plane.die()
    leases[0].done([heard()])
    plane.start()
    plane.until(lambda: turns and not client.outstanding)
    assert len(leases) == 1
    assert plain(turns[0].job) == heard()


def test_a_worker_that_hears_nothing_while_it_transcribes_keeps_its_job_over_a_restart(plane: Plane) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech())
    plane.until(lambda: leases)
    busy = plane.clients.pop(0)  # in the middle of it: not pumped any more
    plane.die()
    plane.start()
    _, other = plane.worker("whisper-2", "stt")
    plane.clock.advance_s(5)
    plane.dispatcher.tick()
    plane.client("vad-2").submit(speech("b"))
    plane.until(lambda: other)
    assert [lease.job.turn for lease in other] == ["b"]
    plane.clients.append(busy)
    leases[0].done([heard()])
    plane.until(lambda: not busy.outstanding)
    assert [plain(stored.job) for stored in plane.spool.load()] == [speech("b"), heard()]


def test_a_job_whose_worker_died_together_with_the_dispatcher_goes_to_the_successor_at_once(plane: Plane) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech())
    plane.until(lambda: leases)
    plane.clients.pop(0).close()
    plane.die()
    plane.start()
    _, again = plane.worker("whisper-1", "stt", incarnation="2")
    plane.until(lambda: again)
    assert again[0].attempt == 2


def test_a_lease_that_never_reached_its_worker_is_given_again_soon(plane: Plane) -> None:
    plane.client("vad").submit(speech())
    plane.until(lambda: not plane.clients[0].outstanding)
    plane.spool.lease(speech(), {"whisper-1/1": 1})
    plane.die()
    plane.start()
    _, leases = plane.worker("whisper-1", "stt")
    plane.until(lambda: plane.dispatcher.wait_s() is not None and (plane.dispatcher.wait_s() or 0) <= 1.0)
    plane.clock.advance_s(1.1)
    plane.dispatcher.tick()
    plane.until(lambda: leases)


def test_what_is_submitted_while_there_is_no_dispatcher_is_not_lost(plane: Plane) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    plane.until(lambda: not plane.clients[0].outstanding)
    plane.die()
    plane.client("vad").submit(speech())
    plane.start()
    plane.until(lambda: leases)


def test_a_lease_can_be_extended_by_a_worker_that_waits(plane: Plane) -> None:
    worker, leases = plane.worker("llm", "llm")
    plane.client("memory").submit(Job(turn="a", stream="mic", work=Answer(transcript="", role="", system="", max_tokens=1, rounds=[])))
    plane.until(lambda: leases)
    leases[0].extend(60_000)
    worker.submit(Job(turn="b", stream="mic", work=Recall(transcript="", role="", system="", max_tokens=1)))
    plane.until(lambda: not worker.outstanding)  # it came behind the wish for more time, by the same way
    plane.clock.advance_s(30)
    plane.dispatcher.tick()
    assert ("answer", "requeued") not in plane.moved


def test_a_stranger_message_is_counted_and_nothing_else_happens(plane: Plane) -> None:
    with plane.context.socket(zmq.DEALER) as stranger:
        stranger.connect(plane.addresses.jobs)
        stranger.send_multipart([b"job.submit", b"\xc1"])
        stranger.send_multipart(Stamp("x", "1").pack(JobMoved(job_id="a", state="done")))
        plane.until(lambda: len(plane.bad) == 2)
    assert plane.spool.load() == []


def test_a_disk_that_cannot_be_written_loses_nothing_and_is_told_once(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    vad = plane.client("vad")
    real = plane.spool.add

    def full(*_arguments: object, **_options: object) -> tuple[int, int]:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(plane.spool, "add", full)
    vad.submit(speech())
    plane.until(lambda: plane.troubles)
    assert "disk is full" in plane.troubles[0]
    monkeypatch.setattr(plane.spool, "add", real)
    vad.resend()
    plane.until(lambda: not vad.outstanding)
    assert [plain(stored.job) for stored in plane.spool.load()] == [speech()]
    assert plane.troubles[1:] == [""]


def test_a_failure_is_told_once_and_what_is_told_again_does_not_end_the_next_attempt(plane: Plane) -> None:
    client, leases = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech())
    plane.until(lambda: leases)
    leases[0].failed("no luck", retry=True)
    client.resend()
    plane.until(lambda: not client.outstanding)
    plane.clock.advance_s(1)
    plane.dispatcher.tick()
    plane.until(lambda: len(leases) == 2)
    client.end_lease(leases[0], JobFailed(lease=leases[0].id, job_id=speech().id, reason="again", retry=False))
    plane.until(lambda: not client.outstanding)
    (info,) = plane.jobs()
    assert (info.state, info.attempts) == ("leased", 2)


def test_a_lease_that_could_not_be_written_is_given_when_the_disk_has_room_again(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    vad = plane.client("vad")
    vad.submit(speech())
    plane.until(lambda: not vad.outstanding)
    real = plane.spool.lease

    def full(*_arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(plane.spool, "lease", full)
    _, leases = plane.worker("whisper-1", "stt")
    plane.until(lambda: plane.troubles)
    wait_s = plane.dispatcher.wait_s()
    assert wait_s is not None
    assert 0 < wait_s <= 1
    monkeypatch.setattr(plane.spool, "lease", real)
    plane.dispatcher.tick()
    plane.until(lambda: leases)
    assert plane.troubles[-1] == ""


def test_a_dead_workers_job_goes_on_although_the_disk_is_full(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech())
    plane.until(lambda: leases)

    def full(*_arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(plane.spool, "release", full)
        plane.dispatcher.worker_exited("whisper-1", "1")
    _, again = plane.worker("whisper-2", "stt")
    plane.until(lambda: again)
    assert plain(again[0].job) == speech()


def test_a_job_tells_who_had_the_turn_before_and_for_how_long(plane: Plane) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    _, turns = plane.worker("dialogue", "turn")
    plane.client("vad").submit(speech())
    plane.until(lambda: leases)
    assert leases[0].job.history == []
    plane.clock.advance_s(3)
    plane.dispatcher.worker_exited("whisper-1", "1")
    plane.clock.advance_s(1)
    _, again = plane.worker("whisper-2", "stt")
    plane.until(lambda: again)
    plane.clock.advance_s(2)
    again[0].done([heard()])
    plane.until(lambda: turns)
    assert told(turns[0].job) == [("transcribe", "whisper-1", 1, 0, 3, "its worker died"), ("transcribe", "whisper-2", 2, 4, 6, "")]


def test_an_attempt_that_comes_to_its_end_after_all_was_not_lost_but_that_of_the_present_holder_is(plane: Plane) -> None:
    _, slow = plane.worker("whisper-1", "stt")
    _, turns = plane.worker("dialogue", "turn")
    plane.client("vad").submit(speech())
    plane.until(lambda: slow)
    _, fast = plane.worker("whisper-2", "stt")
    plane.clock.advance_s(100)
    plane.dispatcher.tick()
    plane.until(lambda: fast)
    plane.clock.advance_s(1)
    slow[0].done([heard()])
    plane.until(lambda: turns)
    assert told(turns[0].job) == [
        ("transcribe", "whisper-2", 2, 100, 101, "another worker was quicker"),
        ("transcribe", "whisper-1", 1, 0, 101, ""),
    ]


def test_what_was_tried_in_vain_is_still_known_after_a_restart_of_the_dispatcher(plane: Plane) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech())
    plane.until(lambda: leases)
    plane.clock.advance_s(3)
    plane.dispatcher.worker_exited("whisper-1", "1")
    plane.die()
    plane.start()
    (stored,) = plane.spool.load()
    assert told(stored.job) == [("transcribe", "whisper-1", 1, 0, 3, "its worker died")]


def test_a_worker_that_died_together_with_the_dispatcher_is_in_the_history_of_the_turn(plane: Plane) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech())
    plane.until(lambda: leases)
    plane.clients.pop(0).close()
    plane.die()
    plane.clock.advance_s(5)
    plane.start()
    plane.clock.advance_s(1)
    _, again = plane.worker("whisper-1", "stt", incarnation="2")
    plane.until(lambda: again)
    assert told(again[0].job) == [("transcribe", "whisper-1", 1, 5, 6, "its worker was replaced")]


def test_a_worker_that_never_comes_back_to_a_restarted_dispatcher_is_in_the_history_after_the_next_restart_too(plane: Plane) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech())
    plane.until(lambda: leases)
    plane.clients.pop(0).close()
    plane.die()
    plane.start()
    _, other = plane.worker("whisper-2", "stt")
    plane.until(lambda: plane.knows_worker("whisper-2/1"))
    plane.advance(60)
    plane.until(lambda: other)
    plane.die()
    plane.start()
    (stored,) = plane.spool.load()
    assert told(stored.job) == [("transcribe", "whisper-1", 1, 0, 60, "its worker did not come back")]


def test_a_lease_that_is_taken_up_again_after_a_restart_is_told_once(plane: Plane) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    _, turns = plane.worker("dialogue", "turn")
    plane.client("vad").submit(speech())
    plane.until(lambda: leases)
    plane.die()
    plane.clock.advance_s(3)
    plane.start()
    plane.until(lambda: [info.worker for info in plane.jobs()] == ["whisper-1/1"])
    plane.clock.advance_s(2)
    leases[0].done([heard()])
    plane.until(lambda: turns)
    assert told(turns[0].job) == [("transcribe", "whisper-1", 1, 3, 5, "")]


def test_a_full_disk_does_not_tell_the_same_loss_twice(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    _, leases = plane.worker("llm", "llm")
    _, turns = plane.worker("dialogue", "turn")
    answer = Answer(transcript="hello", role="plain", system="", max_tokens=64, rounds=[])
    plane.client("memory").submit(Job(turn="a", stream="mic", work=answer))
    plane.until(lambda: leases)

    def full(*_arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(plane.spool, "park", full)
        leases[0].failed("no such model", retry=False)
        plane.until(lambda: plane.troubles)
    plane.clients[0].resend()
    plane.until(lambda: turns)
    assert told(turns[0].job) == [("answer", "llm", 1, 0, 0, "no such model")]
