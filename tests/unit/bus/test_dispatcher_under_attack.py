"""A dispatcher among strangers: names that are stolen, workers that are not there, floods."""

from __future__ import annotations

import msgspec
import zmq

from bus.codec import Stamp
from bus.limits import MAX_MARKS, MAX_MESSAGES_AT_ONCE, MAX_NAME_CHARS
from bus.messages.jobs import MAX_LISTED_JOBS, WorkerBye
from tests.unit.bus.plane import Plane, heard, speech
from tests.waiting import pump_until


def test_a_job_leased_to_a_worker_that_is_not_there_goes_to_the_next_and_that_was_no_attempt(plane: Plane) -> None:
    gone, _ = plane.worker("ghost", "stt")
    plane.until(lambda: plane.knows_worker("ghost/1"))
    ends = plane.dispatcher.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    gone.socket.close(linger=0)  # as kill -9 closes it: no goodbye
    plane.clients.remove(gone)
    plane.until(lambda: ends.poll(0))
    plane.dispatcher.socket.disable_monitor()
    plane.client("vad").submit(speech())
    plane.until(lambda: not plane.knows_worker("ghost/1"))
    _, leases = plane.worker("whisper-1", "stt")
    plane.until(lambda: leases)
    assert leases[0].attempt == 1


def test_a_worker_whose_name_was_stolen_works_again_a_few_seconds_later(plane: Plane) -> None:
    memory, leases = plane.worker("memory", "stt")
    plane.until(lambda: plane.knows_worker("memory/1"))
    thief, _ = plane.worker("memory", "stt", incarnation="later")
    plane.until(lambda: plane.knows_worker("memory/later"))
    assert not plane.knows_worker("memory/1")
    thief.socket.close(linger=0)
    plane.clients.remove(thief)
    plane.client("vad").submit(speech())
    pump_until(lambda: leases, *(plane._pump(client) for client in plane.clients), plane._serve, memory.resend)


def test_a_goodbye_in_the_name_of_another_ends_nothing(plane: Plane) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech())
    plane.until(lambda: leases)
    thief, _ = plane.worker("other", "no such queue")
    stamp = Stamp("whisper-1", "1")
    thief.socket.send_multipart(stamp.pack(WorkerBye()))
    thief.submit(speech("after it"))
    plane.until(lambda: not thief.outstanding)
    assert [move for move in plane.moved if move[1] == "requeued"] == []


def test_a_flood_is_read_in_lots(plane: Plane) -> None:
    vad = plane.client("vad")
    for _ in range(MAX_MESSAGES_AT_ONCE + 1):
        vad.socket.send_multipart([b"nonsense", b""])
    vad.submit(speech())
    lots: list[int] = []

    def serve() -> None:
        before = len(plane.bad)
        plane._serve()
        lots.append(len(plane.bad) - before)

    pump_until(lambda: sum(lots) > MAX_MESSAGES_AT_ONCE, serve)
    assert max(lots) <= MAX_MESSAGES_AT_ONCE


def test_more_jobs_than_fit_into_an_answer_are_listed_in_part_and_the_parked_ones_last(plane: Plane) -> None:
    for number in range(MAX_LISTED_JOBS + 1):
        plane.spool.add(speech(f"t{number}"), None, born=plane.moment)
    plane.spool.park("t0/transcribe/0", "x" * 5000, 1)
    plane.die()
    plane.start()
    found = plane.jobs()
    assert len(found) == MAX_LISTED_JOBS
    assert all(job.state == "waiting" for job in found)


def test_a_result_that_breaks_a_bound_gives_the_job_up_and_the_worker_goes_on(plane: Plane) -> None:
    worker, leases = plane.worker("whisper-1", "stt")
    vad = plane.client("vad")
    vad.submit(speech("first"))
    vad.submit(speech("second"))
    plane.until(lambda: leases)
    leases[0].done([heard("x" * (MAX_NAME_CHARS + 1))])
    plane.until(lambda: len(leases) == 2 and not worker.outstanding)
    assert plane.bad == []
    assert ("transcribe", "parked") in plane.moved


def test_a_failure_is_told_in_a_line_of_bounded_length(plane: Plane) -> None:
    worker, leases = plane.worker("whisper-1", "stt")
    plane.client("vad").submit(speech())
    plane.until(lambda: leases)
    leases[0].failed("x" * 1_000_000, retry=False)
    plane.until(lambda: not worker.outstanding)
    assert plane.bad == []


def test_a_worker_has_room_for_its_own_marks_whatever_came_with_the_job(plane: Plane) -> None:
    worker, leases = plane.worker("whisper-1", "stt")
    marks = {f"mark {number}": number for number in range(MAX_MARKS)}
    plane.client("vad").submit(msgspec.structs.replace(speech(), marks=marks))
    plane.until(lambda: leases)
    job = leases[0].job
    leases[0].done([msgspec.structs.replace(heard(), marks={**job.marks, "one": 1, "more": 2})])
    plane.until(lambda: not worker.outstanding)
    assert ("transcribe", "done") in plane.moved
