"""The actors `llm` and `rehearsal-llm` as processes, with a real broker and a real dispatcher."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from actors.rehearsal_llm.server import RehearsalServer
from bus.messages.jobs import Answered, Parked
from bus.messages.reply import ReplyDelta, ReplyFinished, ReplyStarted, ReplyWaiting
from bus.messages.turn import Round
from bus.settings import LlmSettings
from bus.timings import FIRST_CLAUSE, FIRST_TOKEN, LAST_TOKEN, LLM_START
from tests.contract.llm.bridge import ROOT, Bench, llm_at
from tests.fakes.llm_server import Script, ScriptedServer, Step
from tests.ports import port_without_a_server
from tests.waiting import DEADLINE_S

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def test_a_question_becomes_an_answer_that_is_published_as_it_comes(make_bench: Callable[[LlmSettings], Bench]) -> None:
    bench = make_bench(llm_at("rehearsal"))
    bench.start("rehearsal-llm")
    bench.start("llm")
    bench.ask("What is my name?", [Round(user="My name is Anna.", assistant="Hello.")])
    job = bench.answered()
    reply = "Your name is Anna."
    expected = Answered(transcript="What is my name?", role="plain", reply=reply, finish_reason="stop", model="rehearsal", attempt=1)
    assert job.work == expected
    assert (job.turn, job.stream) == ("t1", "mic")
    assert list(job.marks) == ["turn_end", LLM_START, FIRST_TOKEN, FIRST_CLAUSE, LAST_TOKEN]
    assert job.marks[LLM_START] < job.marks[FIRST_TOKEN] < job.marks[FIRST_CLAUSE] <= job.marks[LAST_TOKEN]
    bench.until(lambda: bool(bench.bodies(ReplyFinished)))
    deltas = [ReplyDelta(attempt=1, index=index, text=text) for index, text in enumerate(["Your", " name", " is", " Anna."])]
    finished = ReplyFinished(attempt=1, text="Your name is Anna.", finish_reason="stop")
    assert [message.body for message in bench.events if not isinstance(message.body, ReplyWaiting)] == [
        ReplyStarted(attempt=1, model="rehearsal"),
        *deltas,
        finished,
    ]
    assert {(message.envelope.turn, message.envelope.stream) for message in bench.events} == {("t1", "mic")}


def test_a_server_that_is_not_there_is_waited_for_and_that_is_said_once(make_bench: Callable[[LlmSettings], Bench]) -> None:
    with port_without_a_server() as port:
        bench = make_bench(llm_at(f"http://127.0.0.1:{port}/v1"))
        bench.start("llm")
        waiting = f"waiting for the LLM server: no LLM server answers at http://127.0.0.1:{port}/v1 (connection refused)"
        bench.until(lambda: any(text.startswith(waiting) for text in bench.statuses))
        bench.ask("What is two plus two?")
        bench.until(lambda: bool(bench.bodies(ReplyWaiting)))
        with RehearsalServer(port).running():
            job = bench.answered()
    assert isinstance(job.work, Answered)
    assert job.work.reply == "Two plus two is four."
    bench.until(lambda: bool(bench.bodies(ReplyFinished)))
    assert len(bench.bodies(ReplyWaiting)) == 1
    assert bench.bodies(ReplyStarted) == [ReplyStarted(attempt=1, model="rehearsal")]


def test_a_server_that_the_launcher_starts_too_is_no_trouble_while_it_starts(make_bench: Callable[[LlmSettings], Bench]) -> None:
    bench = make_bench(llm_at("rehearsal"))
    bench.start("llm")
    bench.start("rehearsal-llm")
    bench.until(lambda: "talking to rehearsal" in bench.statuses)
    assert not any("has not started yet" in text for text in bench.statuses)


def test_a_reply_that_breaks_off_is_asked_for_again(make_bench: Callable[[LlmSettings], Bench], server: RehearsalServer) -> None:
    server.behave({"fault": "break-off", "times": 1})
    bench = make_bench(llm_at(server.base_url))
    bench.start("llm")
    bench.ask("What is two plus two?")
    work = bench.answered().work
    assert isinstance(work, Answered)
    assert work.reply == "Two plus two is four."
    bench.until(lambda: bool(bench.bodies(ReplyFinished)))
    assert [body.attempt for body in bench.bodies(ReplyStarted) if isinstance(body, ReplyStarted)] == [1, 2]


def test_a_reply_that_breaks_off_goes_on_where_the_server_can_do_that(
    make_bench: Callable[[LlmSettings], Bench], server: RehearsalServer
) -> None:
    server.behave({"fault": "break-off", "times": 2, "continues": True})
    bench = make_bench(llm_at(server.base_url))
    bench.start("llm")
    bench.ask("What is two plus two?")
    job = bench.answered()
    work = job.work
    assert isinstance(work, Answered)
    assert work.reply == "Two plus two is four."
    assert list(job.marks) == ["turn_end", LLM_START, FIRST_TOKEN, FIRST_CLAUSE, LAST_TOKEN]
    assert job.marks[LLM_START] < job.marks[FIRST_TOKEN] < job.marks[FIRST_CLAUSE] <= job.marks[LAST_TOKEN]
    bench.until(lambda: bool(bench.bodies(ReplyFinished)))
    assert [body.attempt for body in bench.bodies(ReplyStarted) if isinstance(body, ReplyStarted)] == [1]
    deltas = [body for body in bench.bodies(ReplyDelta) if isinstance(body, ReplyDelta)]
    assert "".join(delta.text for delta in deltas) == "Two plus two is four."
    assert [(delta.attempt, delta.index) for delta in deltas] == [(1, index) for index in range(len(deltas))]


def test_a_server_that_refuses_to_go_on_is_asked_anew(make_bench: Callable[[LlmSettings], Bench]) -> None:
    models = b'{"data":[{"id":"tiny","owned_by":"vllm"}]}'
    listing = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(models), models)
    refusal = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
    with ScriptedServer([listing], [STREAM, TOKEN], [refusal], [STREAM, TOKEN, FINISH]).running() as scripted:
        bench = make_bench(llm_at(scripted.base_url, "tiny"))
        bench.start("llm")
        bench.until(lambda: "talking to tiny" in bench.statuses)
        bench.ask("Hello")
        work = bench.answered().work
        bench.until(lambda: bool(bench.bodies(ReplyFinished)))
    assert isinstance(work, Answered)
    assert work.reply == "Hi"
    assert [body.attempt for body in bench.bodies(ReplyStarted) if isinstance(body, ReplyStarted)] == [1, 2]
    begun = [b"continue_final_message" in request for request in scripted.seen.requests]
    assert begun == [False, False, True, False]


@pytest.mark.parametrize(
    "script",
    [
        [STREAM, TOKEN, b"data: {]\n\n"],
        [STREAM, TOKEN, Step.RESET],
        [STREAM, TOKEN],
        [STREAM, TOKEN, *[b": " + b"x" * 65536] * 20],
        [STREAM, *[TOKEN * 800] * 20],
    ],
    ids=["malformed", "reset", "cut short", "endless comments", "endless words"],
)
def test_a_stream_that_goes_wrong_each_time_ends_in_one_parked_job(make_bench: Callable[[LlmSettings], Bench], script: Script) -> None:
    with ScriptedServer(script).running() as scripted:
        bench = make_bench(llm_at(scripted.base_url, "tiny"))
        bench.start("llm")
        bench.ask("Hello")
        work = bench.answered().work
        bench.until(lambda: len(bench.bodies(ReplyStarted)) == 3)
    assert isinstance(work, Parked)
    assert "broken off" in work.reason
    assert len(bench.leases) == 1
    assert not bench.bodies(ReplyFinished)


def test_a_silent_server_is_told_once_and_given_up_when_the_time_for_the_answer_is_over(
    make_bench: Callable[[LlmSettings], Bench], server: RehearsalServer
) -> None:
    server.behave({"fault": "hang"})
    bench = make_bench(LlmSettings(url=server.base_url, model="", patience_s=0.2, first_token_timeout_s=4.5, answer_timeout_s=9.5))
    bench.start("llm")
    bench.until(lambda: "talking to rehearsal" in bench.statuses)
    begin_s = time.monotonic()
    bench.ask("What is two plus two?")
    work = bench.answered().work
    assert isinstance(work, Parked)
    assert "sent no token within" in work.reason
    assert time.monotonic() - begin_s > 9.5
    bench.until(lambda: bench.bodies(ReplyWaiting) and len(bench.bodies(ReplyStarted)) >= 2)
    assert len(bench.bodies(ReplyStarted)) == 2  # of three attempts that the job would have
    assert bench.bodies(ReplyWaiting) == [ReplyWaiting(reason="no answer after 0.2 s")]


def test_a_server_that_falls_silent_in_mid_reply_is_told_and_asked_again(
    make_bench: Callable[[LlmSettings], Bench], server: RehearsalServer
) -> None:
    server.behave({"fault": "hang-in-reply", "times": 1})
    bench = make_bench(LlmSettings(url=server.base_url, model="", patience_s=1.0, stall_timeout_s=3.0))
    bench.start("llm")
    bench.ask("What is two plus two?")
    work = bench.answered().work
    assert isinstance(work, Answered)
    assert work.reply == "Two plus two is four."
    bench.until(lambda: bool(bench.bodies(ReplyFinished)))
    told = ReplyWaiting(reason="no word for 1 s in the middle of its answer", begun=True)
    assert [body for body in bench.bodies(ReplyWaiting) if body == told] == [told]
    order = [
        type(message.body) for message in bench.events if message.body == told or isinstance(message.body, (ReplyStarted, ReplyFinished))
    ]
    assert order == [ReplyStarted, ReplyWaiting, ReplyStarted, ReplyFinished]


def test_a_server_that_goes_on_failing_ends_in_a_parked_job(make_bench: Callable[[LlmSettings], Bench], server: RehearsalServer) -> None:
    server.behave({"fault": "error-500"})
    bench = make_bench(llm_at(server.base_url))
    bench.start("llm")
    bench.ask("What is two plus two?")
    work = bench.answered().work
    assert isinstance(work, Parked)
    assert work.failed_stage == "answer"
    assert "failed (500" in work.reason
    bench.until(lambda: len(bench.bodies(ReplyStarted)) == 3)


def test_a_wrong_model_is_not_tried_again_and_the_served_ones_are_named(
    make_bench: Callable[[LlmSettings], Bench], server: RehearsalServer
) -> None:
    bench = make_bench(llm_at(server.base_url, "mistral"))
    bench.start("llm")
    bench.ask("What is two plus two?")
    work = bench.answered().work
    assert isinstance(work, Parked)
    assert "no model 'mistral': it serves rehearsal" in work.reason
    assert [past.number for past in bench.leases[0].job.history] == [1]
    bench.until(lambda: bench.bodies(ReplyStarted))
    assert len(bench.bodies(ReplyStarted)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_bridge_that_ends_in_mid_reply_leaves_the_turn_to_its_successor(
    make_bench: Callable[[LlmSettings], Bench], server: RehearsalServer, number: signal.Signals
) -> None:
    server.behave({"fault": "hang-in-reply", "times": 1})
    bench = make_bench(llm_at(server.base_url))
    bench.start("llm")
    bench.ask("What is two plus two?")
    bench.until(lambda: bool(bench.bodies(ReplyDelta)))
    assert bench.end("llm", number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    bench.start("llm")
    work = bench.answered().work
    assert isinstance(work, Answered)
    assert work.reply == "Two plus two is four."
    assert len(bench.leases) == 1


def test_the_bridge_finds_a_rehearsal_server_that_came_back_on_another_port(make_bench: Callable[[LlmSettings], Bench]) -> None:
    bench = make_bench(llm_at("rehearsal"))
    port_file = bench.addresses.runtime_dir / "rehearsal-llm.port"
    bench.start("rehearsal-llm")
    bench.start("llm")
    bench.until(lambda: "talking to rehearsal" in bench.statuses)
    bench.end("rehearsal-llm", signal.SIGKILL)
    port_file.unlink()
    bench.start("rehearsal-llm")
    bench.until(port_file.exists)
    bench.ask("What is two plus two?")
    work = bench.answered().work
    assert isinstance(work, Answered)
    assert work.reply == "Two plus two is four."


def test_a_port_that_is_taken_is_told_and_not_tried_again(make_bench: Callable[[LlmSettings], Bench]) -> None:
    bench = make_bench(llm_at("rehearsal"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "actors", "rehearsal-llm", "--set", f"rehearsal_llm.port={port}"]
        environ = {**os.environ, **bench.addresses.environ}
        ended = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == os.EX_CONFIG
    (line,) = ended.stderr.decode().splitlines()
    assert f"cannot listen on port {port} (Address already in use): set rehearsal_llm.port to a free one" in line
