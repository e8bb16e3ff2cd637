"""A user who speaks into an answer has heard enough of it: the server is let go, and what there is of it is the answer."""

from __future__ import annotations

import threading

from bus.messages.jobs import Answered
from bus.messages.reply import ReplyDelta, ReplyFinished
from bus.messages.voice import StopCause, VoiceCut
from tests.contract.llm.bridge import Bench
from tests.contract.llm.test_llm_ahead import END, HELLO, LISTING, STREAM, WHOLE, WORLD, MakeBench, bridge_to
from tests.fakes.llm_server import ScriptedServer, Step


def cut(bench: Bench, turn: str, attempt: int, cause: StopCause = "user") -> None:
    bench.publisher.publish(VoiceCut(attempt=attempt, cause=cause, at_ns=1), turn=turn, stream="mic")


def test_an_answer_that_is_cut_ends_with_what_there_is_of_it_and_the_connection_is_closed(make_bench: MakeBench) -> None:
    with ScriptedServer(LISTING, [STREAM, HELLO, Step.HANG], WHOLE).running() as server:
        bench = bridge_to(server, make_bench)
        bench.ask("Hello")
        bench.until(lambda: bench.bodies(ReplyDelta))
        cut(bench, "t1", 1)
        job = bench.answered()
        bench.until(server.seen.client_left.is_set)
        assert isinstance(job.work, Answered)
        assert (job.work.reply, job.work.finish_reason) == ("Hello", "interrupted")
        bench.until(lambda: bench.bodies(ReplyFinished))
        bench.leases[-1].done()
        bench.ask("Hello", turn="t2")
        bench.until(lambda: len(bench.leases) == 2)
    assert isinstance(bench.leases[1].job.work, Answered)
    assert bench.leases[1].job.work.reply == "Hello world."


def test_a_cut_of_another_answer_or_by_nobody_ends_nothing(make_bench: MakeBench) -> None:
    go_on = threading.Event()
    with ScriptedServer(LISTING, [STREAM, HELLO, go_on, WORLD, END]).running() as server:
        bench = bridge_to(server, make_bench)
        bench.ask("Hello")
        bench.until(lambda: bench.bodies(ReplyDelta))
        cut(bench, "t0", 1)
        cut(bench, "t1", 2)
        cut(bench, "t1", 1, "trouble")
        cut(bench, "t1", 1, "newer")
        go_on.set()
        job = bench.answered()
    assert isinstance(job.work, Answered)
    assert (job.work.reply, job.work.finish_reason) == ("Hello world.", "stop")


def test_an_answer_that_is_cut_while_it_is_about_to_be_gone_on_with_ends_with_what_there_is_of_it(make_bench: MakeBench) -> None:
    with ScriptedServer(LISTING, [STREAM, HELLO], [STREAM, Step.HANG]).running() as server:
        bench = bridge_to(server, make_bench)
        bench.ask("Hello")
        bench.until(lambda: bench.bodies(ReplyDelta))
        cut(bench, "t1", 1)
        job = bench.answered()
        assert isinstance(job.work, Answered)
        assert (job.work.reply, job.work.finish_reason) == ("Hello", "interrupted")
