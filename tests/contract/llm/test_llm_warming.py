"""What the server is sent while somebody speaks: the beginning of the next prompt, once, and never beside a question."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

from bus.messages.jobs import Answered
from bus.messages.reply import ReplyStarted, ReplyWaiting
from bus.messages.speech import SpeechStarted
from bus.messages.turn import Round
from tests.contract.llm.bridge import Bench, llm_at
from tests.contract.llm.test_llm_ahead import LISTING, STREAM, WHOLE, bridge_to
from tests.fakes.llm_server import ScriptedServer, Step

MakeBench = Callable[..., Bench]


def speak(bench: Bench, turn: str, stream: str = "mic") -> None:
    """Somebody begins to."""
    bench.publisher.publish(SpeechStarted(first_sample=0), turn=turn, stream=stream)


def asked(request: bytes) -> tuple[list[str], int]:
    """What a request says, and how many tokens it wants."""
    body = json.loads(request.partition(b"\r\n\r\n")[2])
    return [message["content"] for message in body["messages"]], body["max_tokens"]


def test_when_somebody_begins_to_speak_the_server_reads_what_the_prompt_will_begin_with(make_bench: MakeBench) -> None:
    with ScriptedServer(LISTING, WHOLE).running() as server:
        bench = bridge_to(server, make_bench)
        speak(bench, "t1")
        bench.until(lambda: len(server.seen.requests) == 2)
        bench.ask("Hello", [Round(user="One.", assistant="First.")])
        bench.answered()
        bench.leases[0].done()
        speak(bench, "d1", "door")
        bench.until(lambda: len(server.seen.requests) == 4)
        bench.ask("Again", turn="t2")
        bench.until(lambda: len(bench.leases) == 2)
        speak(bench, "t3")  # the last answer has left in the cache what this begins with
        speak(bench, "d2", "door")
        speak(bench, "d2", "door")
        bench.until(lambda: len(server.seen.requests) == 6)
        turns = itertools.count(4)

        def speaks_again() -> bool:
            speak(bench, f"t{next(turns)}")
            return len(server.seen.requests) == 7

        bench.until(speaks_again)  # once the server has read the other's
    first, question, other, again, door, back = (asked(request) for request in server.seen.requests[1:])
    assert first == other == door == (["."], 1)  # no role is configured
    assert question == (["You are kind.", "One.", "First.", "Hello"], 64)
    assert again == (["You are kind.", "Again"], 64)
    assert back == (["You are kind.", "Again", "Hello world.", "."], 1)


def test_a_question_ends_the_reading_and_goes_first(make_bench: MakeBench) -> None:
    with ScriptedServer(LISTING, [Step.HANG], WHOLE).running() as server:
        bench = bridge_to(server, make_bench)
        speak(bench, "t1")
        bench.until(lambda: len(server.seen.requests) == 2)
        bench.ask("Hello")
        job = bench.answered()
        bench.until(server.seen.client_left.is_set)
    assert isinstance(job.work, Answered)
    assert job.work.reply == "Hello world."


def test_while_a_question_is_answered_nothing_is_read_and_a_failure_to_read_is_nobodys_trouble(make_bench: MakeBench) -> None:
    refusal = [b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"]
    with ScriptedServer(LISTING, refusal, [STREAM, Step.HANG], WHOLE).running() as server:
        bench = bridge_to(server, make_bench)
        speak(bench, "t1")
        bench.until(lambda: len(server.seen.requests) == 2)
        bench.ask("Hello")
        bench.until(lambda: any(isinstance(message.body, ReplyStarted) for message in bench.events))
        speak(bench, "t2", "door")
        bench.until(lambda: any(isinstance(message.body, ReplyWaiting) for message in bench.events))
    assert len(server.seen.requests) == 3
    assert not any("500" in status for status in bench.statuses)


def test_it_can_be_switched_off(make_bench: MakeBench) -> None:
    with ScriptedServer(LISTING, WHOLE).running() as server:
        bench = make_bench(llm_at(server.base_url, "tiny", warm=False))
        bench.start("llm")
        bench.until(lambda: "talking to tiny" in bench.statuses)
        speak(bench, "t1")
        bench.ask("Hello")
        bench.answered()
    assert len(server.seen.requests) == 2
