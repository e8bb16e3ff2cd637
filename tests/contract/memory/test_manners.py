"""Conversation manners through the real processes `dialogue` and `memory`: what hangs on the turn before survives their death."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from bus.messages.jobs import Heard, Job
from bus.messages.reply import ReplyFinished
from bus.messages.speech import SpeechStarted, WakeHeard
from bus.messages.turn import TurnFinished
from bus.settings import DialogueSettings
from bus.timings import SPEECH_END
from tests.contract.memory.stand import GUIDE, UNREACHABLE, Bench

MakeBench = Callable[[DialogueSettings], Bench]
SPARK = msgspec.structs.replace(GUIDE, wake=("hey spark",), follow_up_s=600.0)
STRICT = msgspec.structs.replace(GUIDE, wake=("hey spark",), follow_up_s=0.0)


@pytest.fixture
def make() -> Iterator[MakeBench]:
    with ExitStack() as stack:

        def make(dialogue: DialogueSettings) -> Bench:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ear"))  # short: sockets are in it
            return Bench(Path(directory), stack, UNREACHABLE, dialogue)

        yield make


def kill_and_restart(bench: Bench, *names: str) -> None:
    for name in names:
        bench.children[name].kill()
        bench.children[name].wait()
        bench.children[name] = bench.start(name)
    bench.wait_until_ready(*(bench.children[name] for name in names))


def test_doubtful_words_are_answered_after_a_yes_although_both_died_in_between(make: MakeBench) -> None:
    bench = make(GUIDE)
    bench.hear("t1", "where am eye", doubtful=True)
    assert (bench.finished("t1").state, bench.finished("t1").reply) == ("confirming", "Was it where am eye?")
    kill_and_restart(bench, "dialogue", "memory")
    bench.hear("t2", "Yes.")
    assert bench.answer("In Rome.").transcript == "where am eye"
    record = bench.finished("t2")
    assert (record.state, record.transcript, record.reply) == ("answered", "where am eye", "In Rome.")
    bench.hear("t3", "yes")
    assert bench.answer("Yes what?").transcript == "yes"


def test_doubtful_words_are_dropped_after_a_no_and_are_never_context(make: MakeBench) -> None:
    bench = make(GUIDE)
    bench.hear("t1", "where am eye", doubtful=True)
    bench.hear("t2", "no")
    assert (bench.finished("t2").state, bench.finished("t2").reply) == ("handled", "Fine.")
    bench.hear("t3", "who are you")
    assert bench.answer("Your guide.").rounds == []


def test_the_last_answer_is_said_again_without_the_model_and_as_often_as_it_is_wanted(make: MakeBench) -> None:
    bench = make(GUIDE)
    bench.hear("t1", "where am I")
    bench.answer("In Rome.")
    bench.hear("t2", "Stop.")
    for turn in ("t3", "t4"):
        bench.hear(turn, "Say that again.")
        assert (bench.finished(turn).state, bench.finished(turn).reply) == ("handled", "In Rome.")
        assert len(bench.said(turn, 3)) == 3
    assert (bench.finished("t2").detail, bench.finished("t2").reply, bench.said("t2")) == ("stop", "", [])
    assert bench.questions == []


def test_what_is_not_for_the_assistant_is_over_without_a_word_and_kept_nowhere(make: MakeBench) -> None:
    bench = make(STRICT)
    bench.hear("t1", "a secret between us")
    record = bench.finished("t1")
    assert (record.state, record.transcript, record.reply) == ("ignored", "", "")
    assert bench.stored() == []
    bench.hear("t2", "Hay Spark, where am I?")
    assert bench.answer("In Rome.").transcript == "where am I?"
    bench.finished("t2")
    bench.hear("t3", "another secret")
    assert bench.finished("t3").state == "ignored"
    assert [kept.turn for kept in bench.stored()] == ["t2"]
    bench.children["memory"].kill()
    assert all(b"secret" not in path.read_bytes() for path in bench.addresses.state_dir.glob("memory*"))


def test_after_an_answer_no_wake_phrase_is_needed_although_all_were_killed_meanwhile(make: MakeBench) -> None:
    bench = make(SPARK)
    bench.hear("t1", "hey spark where am I")
    bench.answer("In Rome.")
    bench.finished("t1")
    kill_and_restart(bench, "dialogue", "memory")
    bench.hear("t2", "and who are you")
    assert bench.answer("Your guide.").transcript == "and who are you"


def test_the_window_counts_from_when_it_was_spoken_and_not_from_when_it_was_understood(make: MakeBench) -> None:
    bench = make(msgspec.structs.replace(SPARK, follow_up_s=60.0))
    bench.hear("t1", "hey spark where am I")
    bench.answer("In Rome.")
    bench.finished("t1")
    later_ns = time.monotonic_ns() + 3600 * 1_000_000_000
    bench.hear("t2", "between us", marks={SPEECH_END: later_ns})
    assert bench.finished("t2").state == "ignored"
    bench.hear("t3", "and who are you", marks={SPEECH_END: time.monotonic_ns()})
    assert bench.answer("Your guide.").transcript == "and who are you"


def test_the_wake_phrase_alone_opens_the_window(make: MakeBench) -> None:
    bench = make(SPARK)
    bench.hear("t1", "Hey Spark.")
    assert (bench.finished("t1").state, bench.finished("t1").reply) == ("handled", "Yes?")
    bench.hear("t2", "where am I")
    assert bench.answer("In Rome.").transcript == "where am I"


def test_a_detector_of_wake_words_opens_the_window_of_its_stream(make: MakeBench) -> None:
    bench = make(SPARK)
    bench.hear("t1", "between us")
    assert bench.finished("t1").state == "ignored"
    attempts = iter(range(1000))

    def woken() -> bool:
        """An event may be lost, so it is published until it has been heard."""
        bench.publisher.publish(WakeHeard(), stream="mic")
        turn = f"u{next(attempts)}"
        bench.hear(turn, "where am I")
        bench.until(lambda: bench.questions or bench.records(turn))
        return bool(bench.questions)

    bench.until(woken)
    assert bench.answer("In Rome.").transcript == "where am I"


def test_into_the_silence_of_a_conversation_it_is_asked_once_whether_there_is_more(make: MakeBench) -> None:
    bench = make(msgspec.structs.replace(GUIDE, silence_prompt_s=0.2))
    bench.publisher.publish(SpeechStarted(first_sample=0), turn="t1", stream="mic")
    bench.hear("t1", "where am I")
    bench.answer("In Rome.")
    record = bench.finished("t1-silence")
    assert (record.state, record.reply, record.detail) == ("handled", "Anything else?", "silence")
    assert len(bench.said("t1-silence", 3)) == 3
    finished = [message.envelope.turn for message in bench.seen if isinstance(message.body, TurnFinished)]
    assert finished == ["t1", "t1-silence"]


def speculated(bench: Bench, turn: str, transcript: str) -> Job:
    """A turn that is being done ahead of time, from the transcript on."""
    job = Job(turn=turn, stream="mic", work=Heard(transcript=transcript, speech_ms=2000))
    bench.until(lambda: bench.jobs.connected)
    bench.jobs.speculate(job)
    return job


def test_the_model_is_asked_ahead_of_time_and_nothing_is_told(make: MakeBench) -> None:
    bench = make(GUIDE)
    job = speculated(bench, "t1", "what time is it")
    lease = bench.question()
    assert (lease.ahead, lease.job.stage) == ("speculative", "answer")
    bench.questions.append(lease)
    bench.answer("Noon.")
    bench.until(lambda: bench.moved("t1/answered/0", "ahead"))
    assert bench.records("t1") == []
    assert bench.stored() == []
    bench.jobs.submit(job)
    assert bench.finished("t1").reply == "Noon."
    assert bench.questions == []


@pytest.mark.parametrize(("transcript", "reply"), [("stop", ""), ("say that again", "I haven't said anything yet.")])
def test_what_is_heard_outside_waits_until_it_is_wanted(make: MakeBench, transcript: str, reply: str) -> None:
    bench = make(GUIDE)
    job = speculated(bench, "t1", transcript)
    bench.until(lambda: bench.moved("t1/heard/0", "ahead"))
    bench.jobs.submit(job)
    assert (bench.finished("t1").state, bench.finished("t1").reply) == ("handled", reply)
    said = [body for body in bench.said("t1", 3 * bool(reply)) if isinstance(body, ReplyFinished)]
    assert said == ([ReplyFinished(attempt=1, text=reply, finish_reason="local")] if reply else [])  # ahead of time it would be 0


def test_behind_words_after_which_more_must_come_the_model_is_asked_only_when_it_is_wanted(make: MakeBench) -> None:
    bench = make(GUIDE)
    job = speculated(bench, "t1", "set a timer for")
    bench.until(lambda: bench.moved("t1/heard/0", "ahead"))
    bench.jobs.submit(job)
    assert bench.question().ahead == ""


def test_whom_it_is_for_is_found_out_ahead_of_time_and_told_only_when_the_turn_is_over(make: MakeBench) -> None:
    bench = make(STRICT)
    job = speculated(bench, "t1", "what time is it")
    bench.until(lambda: bench.moved("t1/looked-back/0", "ahead"))
    assert bench.records("t1") == []
    bench.jobs.submit(job)
    assert bench.finished("t1").state == "ignored"
    assert bench.questions == []
