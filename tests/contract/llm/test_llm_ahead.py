"""An answer that is begun ahead of time: nothing of it is told before its turn is wanted, and nothing hangs on it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

import pytest

from actors.rehearsal_llm.server import RehearsalServer
from bus.messages.base import Body
from bus.messages.jobs import Answered, JobMoved
from bus.messages.reply import PromptMade, ReplyDelta, ReplyDiscarded, ReplyFinished, ReplyStarted, ReplyWaiting
from bus.settings import LlmSettings
from bus.timings import FIRST_SHOWN, FIRST_TOKEN, LAST_TOKEN, LLM_START
from tests.contract.llm.bridge import Bench, llm_at
from tests.fakes.llm_server import ScriptedServer, Step
from tests.ports import port_without_a_server

TOLD = ("reply.", "prompt.")
TOPICS = (*TOLD, JobMoved.topic)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
HELLO, WORLD = (
    b'data: {"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % text for text in (b"Hello", b" world.")
)
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
WHOLE = [STREAM, HELLO, WORLD, END]
MODELS = b'{"data":[{"id":"tiny","owned_by":"vllm"}]}'
LISTING = [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(MODELS), MODELS)]
FAILURE = [b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"]

MakeBench = Callable[..., Bench]


def bridge_to(server: ScriptedServer, make_bench: MakeBench) -> Bench:
    """A bridge that has found the server well; the scripts of its replies come after the list of models."""
    bench = make_bench(llm_at(server.base_url, "tiny"), *TOPICS)
    bench.start("llm")
    bench.until(lambda: "talking to tiny" in bench.statuses)
    return bench


def told(bench: Bench) -> list[Body]:
    """What came of replies and prompts, in order."""
    return [message.body for message in bench.events if message.topic.startswith(TOLD)]


def first_told_ns(bench: Bench) -> int:
    """When the first of it left the bridge, monotonic."""
    return min(message.envelope.mono_ns for message in bench.events if message.topic.startswith(TOLD))


def moved(bench: Bench, state: str, turn: str = "t1") -> list[JobMoved]:
    """What became of the answer job of a turn."""
    found = [message.body for message in bench.events if isinstance(message.body, JobMoved)]
    return [body for body in found if body.state == state and body.job_id == f"{turn}/answer/0"]


def attempts_told(bench: Bench) -> list[int]:
    """The numbers of the replies that were begun before everybody's eyes."""
    return [body.attempt for body in told(bench) if isinstance(body, ReplyStarted)]


def test_a_reply_that_is_complete_before_its_turn_is_wanted_is_told_after_it_whole_and_in_order(make_bench: MakeBench) -> None:
    with ScriptedServer(LISTING, [*WHOLE, Step.HANG]).running() as server:
        bench = bridge_to(server, make_bench)
        bench.ask_ahead("Hello")
        bench.until(server.seen.client_left.is_set)  # the bridge has all of the reply
        wanted_ns = time.monotonic_ns()
        bench.ask("Hello", marks={"turn_end": 1, "committed": wanted_ns})
        job = bench.answered()
        bench.until(lambda: bench.bodies(ReplyFinished))
    prompt, *rest = told(bench)
    assert isinstance(prompt, PromptMade)
    assert rest == [
        ReplyStarted(attempt=0, model="tiny"),
        ReplyDelta(attempt=0, index=0, text="Hello"),
        ReplyDelta(attempt=0, index=1, text=" world."),
        ReplyFinished(attempt=0, text="Hello world.", finish_reason="stop"),
    ]
    assert first_told_ns(bench) > wanted_ns
    assert job.work == Answered(transcript="Hello", role="plain", reply="Hello world.", finish_reason="stop", model="tiny")
    assert job.marks["committed"] == wanted_ns
    assert job.marks[LLM_START] < job.marks[FIRST_TOKEN] < wanted_ns < job.marks[FIRST_SHOWN]
    assert job.marks[FIRST_TOKEN] <= job.marks[LAST_TOKEN] < job.marks[FIRST_SHOWN]
    assert len(server.seen.requests) == 2


def test_a_reply_whose_turn_is_wanted_in_its_middle_goes_on_as_it_comes(make_bench: MakeBench) -> None:
    go_on = threading.Event()
    with ScriptedServer(LISTING, [STREAM, HELLO, go_on, WORLD, END]).running() as server:
        bench = bridge_to(server, make_bench)
        bench.ask_ahead("Hello")
        bench.until(lambda: len(server.seen.requests) == 2)
        wanted_ns = time.monotonic_ns()
        bench.ask("Hello")
        bench.until(lambda: any(isinstance(body, ReplyDelta) for body in told(bench)))
        assert not bench.leases
        go_on.set()
        job = bench.answered()
        bench.until(lambda: bench.bodies(ReplyFinished))
    deltas = [body for body in told(bench) if isinstance(body, ReplyDelta)]
    assert [(delta.index, delta.text) for delta in deltas] == [(0, "Hello"), (1, " world.")]
    assert first_told_ns(bench) > wanted_ns
    assert wanted_ns < job.marks[FIRST_SHOWN] < job.marks[LAST_TOKEN]
    assert [(past.stage, past.worker, past.lost) for past in job.history] == [("answer", "llm", "")]


@pytest.mark.parametrize("begun", [[], [STREAM], [STREAM, HELLO]], ids=["headers", "first token", "next token"])
def test_speech_that_goes_on_closes_the_connection_and_only_the_cost_is_told(make_bench: MakeBench, begun: list[bytes]) -> None:
    with ScriptedServer(LISTING, [*begun, Step.HANG], WHOLE).running() as server:
        bench = bridge_to(server, make_bench)
        bench.ask_ahead("Hello")
        bench.until(lambda: len(server.seen.requests) == 2)
        bench.jobs.withdraw("t1")
        bench.until(server.seen.client_left.is_set)
        bench.ask("Hello", turn="t2")
        job = bench.answered()
        bench.until(lambda: any(isinstance(body, ReplyFinished) for body in told(bench)))
    (cost,) = [message for message in bench.events if isinstance(message.body, ReplyDiscarded)]
    assert isinstance(cost.body, ReplyDiscarded)
    assert (cost.envelope.turn, cost.envelope.stream) == ("t1", "mic")
    assert cost.body.tokens <= begun.count(HELLO)  # the last piece may not have arrived yet
    assert cost.body.ms > 0
    told_of = {message.envelope.turn for message in bench.events if message.topic.startswith(TOLD) and message is not cost}
    assert told_of == {"t2"}
    assert [(past.number, past.lost) for past in job.history] == [(1, "")]
    assert not any("trouble" in status or "waiting" in status for status in bench.statuses)


def test_what_is_wanted_takes_the_bridge_from_what_is_not(make_bench: MakeBench) -> None:
    with ScriptedServer(LISTING, [STREAM, HELLO, Step.HANG], WHOLE).running() as server:
        bench = bridge_to(server, make_bench)
        bench.ask_ahead("Hello")
        bench.until(lambda: len(server.seen.requests) == 2)
        bench.ask("Hello", turn="t2")
        bench.answered()
        bench.until(server.seen.client_left.is_set)
        bench.until(lambda: len(moved(bench, "ahead")) == 2)  # there is room for it again
        bench.ask("Hello")
        bench.until(lambda: len(bench.leases) == 1 and moved(bench, "done"))
        bench.until(lambda: len(attempts_told(bench)) == 2)
    assert attempts_told(bench) == [1, 0]


def test_a_server_that_is_not_there_leaves_the_answer_for_the_time_when_it_is_wanted(make_bench: MakeBench) -> None:
    with port_without_a_server() as port:
        bench = make_bench(llm_at(f"http://127.0.0.1:{port}/v1"), *TOPICS)
        bench.start("llm")
        bench.ask_ahead("What is two plus two?")
        bench.ask_ahead("What is two plus two?", turn="t2")
        bench.until(lambda: moved(bench, "ahead") and moved(bench, "ahead", "t2"))  # the bridge had the second, so it gave back the first
        assert told(bench) == []
        with RehearsalServer(port).running():
            bench.ask("What is two plus two?")
            bench.until(lambda: any(isinstance(body, ReplyFinished) for body in told(bench)))
    assert attempts_told(bench) == [1]


def test_a_server_that_fails_ahead_of_time_is_no_trouble_and_no_attempt(make_bench: MakeBench) -> None:
    with ScriptedServer(LISTING, FAILURE, WHOLE).running() as server:
        bench = bridge_to(server, make_bench)
        bench.ask_ahead("Hello")
        bench.until(lambda: len(server.seen.requests) == 2)
        bench.ask("Hello", turn="t2")
        bench.until(lambda: moved(bench, "done", "t2"))
        bench.ask("Hello")
        bench.until(lambda: moved(bench, "done"))
        bench.until(lambda: len(attempts_told(bench)) == 2)
    assert not any("500" in status for status in bench.statuses)
    assert [past.number for lease in bench.leases for past in lease.job.history] == [1]
    assert not any(isinstance(body, ReplyWaiting) for body in told(bench))
    assert attempts_told(bench) == [1, 1]


def test_the_patience_of_the_user_begins_when_the_turn_is_wanted(make_bench: MakeBench, server: RehearsalServer) -> None:
    server.behave({"fault": "hang"})
    bench = make_bench(LlmSettings(url=server.base_url, model="", patience_s=0.2, first_token_timeout_s=1.0), *TOPICS)
    bench.start("llm")
    bench.ask_ahead("What is two plus two?")
    bench.ask_ahead("What is two plus two?", turn="t2")
    bench.until(lambda: moved(bench, "ahead", "t2"))  # the time for the first token of the first is over
    assert told(bench) == []
    wanted_ns = time.monotonic_ns()
    bench.ask("What is two plus two?", turn="t2")
    bench.until(lambda: any(isinstance(body, ReplyWaiting) for body in told(bench)))
    assert first_told_ns(bench) > wanted_ns
    server.behave({"fault": ""})
    bench.until(lambda: any(isinstance(body, ReplyFinished) for body in told(bench)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("wanted_first", [False, True], ids=["before the commit", "after the commit"])
def test_a_bridge_that_ends_in_work_ahead_leaves_a_turn_that_is_answered_once(
    make_bench: MakeBench, server: RehearsalServer, number: signal.Signals, *, wanted_first: bool
) -> None:
    server.behave({"fault": "hang-in-reply", "times": 1})
    bench = make_bench(llm_at(server.base_url), *TOPICS)
    bench.start("llm")
    bench.ask_ahead("What is two plus two?")
    bench.until(lambda: moved(bench, "ahead") and not server.manners.fault)
    if wanted_first:
        bench.ask("What is two plus two?")
        bench.until(lambda: any(isinstance(body, ReplyDelta) for body in told(bench)))
    assert bench.end("llm", number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    bench.start("llm")
    if not wanted_first:
        bench.ask("What is two plus two?")
    bench.until(lambda: any(isinstance(body, ReplyFinished) for body in told(bench)))
    work = bench.answered().work
    assert isinstance(work, Answered)
    assert work.reply == "Two plus two is four."
    (finished,) = [body for body in told(bench) if isinstance(body, ReplyFinished)]
    deltas = [body for body in told(bench) if isinstance(body, ReplyDelta) and body.attempt == finished.attempt]
    assert "".join(delta.text for delta in deltas) == work.reply
    assert [delta.index for delta in deltas] == list(range(len(deltas)))
    assert len(bench.leases) == 1
