"""Turns through the real processes `dialogue` and `memory` on a real bus. The model is played by the test, and nothing else."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import pytest

from actors.llm.prompt import build_messages
from bus.messages.jobs import Answer, Job, Parked
from bus.messages.reply import ReplyDelta, ReplyFinished, ReplyStarted
from bus.messages.turn import Round
from bus.timings import PARTS, SPEECH_END, TOTAL
from tests.contract.memory.stand import Bench
from tests.fakes.llm_server import ScriptedServer


@pytest.fixture
def bench() -> Iterator[Bench]:
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ear"))  # short: sockets are in it
        yield Bench(Path(directory), stack)


def test_a_question_reaches_the_model_with_the_role_and_the_rounds_before_it(bench: Bench) -> None:
    asked = []
    for number in range(5):
        bench.hear(f"t{number}", f"question {number}")
        asked.append(bench.answer(f"answer {number}"))
        bench.finished(f"t{number}")
    assert asked[0] == Answer(transcript="question 0", role="guide", system="Show around.", max_tokens=64, rounds=[])
    starts = [[past.user.removeprefix("question ") for past in each.rounds] for each in asked]
    assert starts == [[], ["0"], ["0", "1"], ["0", "1", "2"], ["2", "3"]]
    assert asked[1].rounds == [Round(user="question 0", assistant="answer 0")]
    prompts = [build_messages(each.system, [(past.user, past.assistant) for past in each.rounds], each.transcript) for each in asked]
    for before, after in pairwise(prompts[:4]):  # what the model's server has read; the fifth begins anew, behind the role
        assert after[: len(before)] == before
    assert prompts[4][0] == prompts[3][0]


def test_a_finished_turn_is_in_the_store_with_its_times(bench: Bench) -> None:
    bench.hear("t1", "where am I", marks={SPEECH_END: time.monotonic_ns()})
    bench.answer("In Ro", "length")
    record = bench.finished("t1")
    assert (record.state, record.transcript, record.reply, record.detail) == ("answered", "where am I", "In Ro", "length")
    assert set(record.timings_ms) >= {"turn_wait", "turn_logic", "recall_wait", "recall", "closing", TOTAL}
    assert sum(round(ms * 1000) for part, ms in record.timings_ms.items() if part in PARTS) == round(record.timings_ms[TOTAL] * 1000)
    assert bench.stored() == [record]
    assert bench.tokens() == [4 + 4 + 4 + 2]  # the estimate: nobody counts here


def test_unclear_speech_is_asked_for_again_and_is_no_round(bench: Bench) -> None:
    bench.hear("t1", "")
    record = bench.finished("t1")
    assert (record.state, record.reply) == ("empty", "Pardon?")
    assert bench.said("t1", 3) == [
        ReplyStarted(attempt=1, model="local"),
        ReplyDelta(attempt=1, index=0, text="Pardon?"),
        ReplyFinished(attempt=1, text="Pardon?", finish_reason="local"),
    ]
    bench.hear("t2", "hello")
    assert bench.answer("Hi.").rounds == []


def test_a_cough_is_remembered_and_not_talked_about(bench: Bench) -> None:
    bench.hear("t1", "", speech_ms=900)
    assert bench.finished("t1").state == "empty"
    assert bench.said("t1") == []


def test_a_turn_whose_job_was_given_up_ends_with_an_apology_newer_than_any_answer(bench: Bench) -> None:
    bench.hear("t1", "where am I")
    bench.question().failed("the model is on fire", retry=False)
    record = bench.finished("t1")
    assert (record.state, record.transcript, record.reply, record.detail) == (
        "failed",
        "where am I",
        "Sorry!",
        "answer: the model is on fire",
    )
    started = bench.said("t1", 1)[0]
    assert isinstance(started, ReplyStarted)
    assert started.attempt > 100


def test_turns_spoken_in_quick_succession_see_each_other(bench: Bench) -> None:
    for number in range(3):
        bench.hear(f"t{number}", f"question {number}")
    asked = [bench.answer(f"answer {number}") for number in range(3)]
    bench.finished("t2")
    assert [each.transcript for each in asked] == ["question 0", "question 1", "question 2"]
    assert [len(each.rounds) for each in asked] == [0, 1, 2]


def test_once_a_turn_is_over_the_count_of_the_server_takes_the_place_of_the_estimate() -> None:
    body = b'{"count": 17}'
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    with ExitStack() as stack:
        server = stack.enter_context(ScriptedServer([answer]).running())
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ear"))
        bench = Bench(Path(directory), stack, server.base_url)
        bench.hear("t1", "where am I")
        assert server.seen.requests == []
        bench.answer("In Rome.")
        bench.finished("t1")
        bench.until(lambda: bench.tokens() == [17])


def test_a_store_that_cannot_be_written_for_a_while_loses_no_turn(bench: Bench) -> None:
    bench.hear("t0", "")
    bench.finished("t0")
    with closing(sqlite3.connect(bench.addresses.state_dir / "memory.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        bench.hear("t1", "where am I")
        bench.answer("In Rome.")
        bench.until(lambda: bench.moved("t1/remember/0", "requeued"))
        assert bench.records("t1") == []
        other.execute("ROLLBACK")
    assert bench.finished("t1").reply == "In Rome."
    assert [record.turn for record in bench.stored()] == ["t0", "t1"]


def test_memory_killed_in_mid_turn_loses_nothing_and_repeats_nothing(bench: Bench) -> None:
    bench.hear("t1", "where am I")
    lease = bench.question()
    bench.children["memory"].kill()
    bench.children["memory"].wait()
    bench.questions.append(lease)
    bench.answer("In Rome.")
    bench.wait_until_ready(bench.start("memory"))
    bench.until(bench.stored)  # the store, not the event: memory may do the job before anybody can hear it
    assert [(record.turn, record.reply) for record in bench.stored()] == [("t1", "In Rome.")]


def test_a_notice_that_memory_gave_up_ends_without_another_job(bench: Bench) -> None:
    bench.jobs.submit(Job(turn="t1", stream="mic", work=Parked(failed_stage="remember", reason="disk full", transcript="hello")))
    bench.hear("t2", "are you there")  # waits until no earlier turn of its stream has an open job
    bench.answer("Yes.")
    bench.finished("t2")
    assert bench.said("t1") == []
    assert [record.turn for record in bench.stored()] == ["t2"]
