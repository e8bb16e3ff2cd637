"""Nothing you said is lost: any process may be killed in the middle of a turn, and the turn is answered, once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.assistant import COMMAND_TIMEOUT_S, PATIENT, SENTENCES, SPEECH, Assistant, assistant, lines, words
from tests.processes import stop_for

SLOW_REPLY = ("rehearsal_llm.first_token_delay_ms=400", "rehearsal_llm.token_delay_ms=60")

# Which process dies at which moment of the turn: the event after which it is killed.
MOMENTS = [
    ("vad", "speech.started"),
    ("vad", "speech.ended"),
    ("whisper-1", "speech.ended"),
    ("whisper-1", "transcript.final"),
    ("dialogue", "speech.ended"),
    ("dialogue", "transcript.final"),
    ("memory", "transcript.final"),
    ("memory", "reply.finished"),
    ("memory", "turn.finished"),
    ("llm", "reply.started"),
    ("llm", "reply.delta"),
    ("rehearsal-llm", "reply.delta"),
    ("dispatcher", "speech.started"),
    ("dispatcher", "transcript.final"),
    ("dispatcher", "reply.delta"),
    ("broker", "speech.started"),
    ("broker", "reply.delta"),
]


@pytest.fixture(scope="module")
def slow() -> Iterator[Assistant]:
    with assistant(*SLOW_REPLY, "launcher.restart_budget=100", "launcher.watchdog_s=5") as started:  # a busy machine restarts nobody
        yield started


@pytest.mark.parametrize(("actor", "moment"), MOMENTS, ids=[f"{actor}-at-{moment}" for actor, moment in MOMENTS])
def test_a_turn_is_answered_once_although_a_process_is_killed_in_it(slow: Assistant, actor: str, moment: str) -> None:
    pid = int(slow.status()[actor]["pid"])
    with slow.events(moment.partition(".")[0]) as events:
        process = slow.popen("hear", "--json", "--pace", "real", str(SPEECH / "sum-rms.wav"))
        events.wait_for(moment)
        os.kill(pid, signal.SIGKILL)
        out, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)
    assert process.returncode == 0, errors
    (turn,) = lines(out)
    assert words(turn["transcript"]) == words("what is two plus three")
    assert turn["reply"] == "Two plus three is five."
    assert Counter(record["turn"] for record in slow.remembered())[turn["turn"]] == 1
    slow.wait_until_ready(actor, but_not_pid=pid)
    assert slow.status()[actor]["last_exit"] == "signal SIGKILL"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP], ids=lambda number: number.name)
def test_the_source_itself_may_be_killed_or_hang_and_goes_on_where_it_was(slow: Assistant, number: signal.Signals) -> None:
    with slow.events("speech.", "turn.") as events:
        process = slow.popen("hear", "--json", "--pace", "fast", str(SPEECH / "conversation.wav"))
        events.wait_for("speech.started")
        (source,) = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _is_source_of(path, process.pid)]
        os.kill(source, number)
        out, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)
    assert process.returncode == 0, errors
    assert [words(turn["transcript"]) for turn in lines(out)] == [words(sentence) for sentence in SENTENCES]


def _is_source_of(process: Path, parent: int) -> bool:
    try:
        status = (process / "stat").read_text().rpartition(")")[2].split()
        return int(status[1]) == parent and b"actors" in (process / "cmdline").read_bytes()
    except OSError:
        return False


def test_a_segmenter_that_is_stopped_for_ten_seconds_misses_nothing() -> None:
    with assistant("launcher.watchdog_s=60") as patient, patient.events("speech.") as events:
        process = patient.popen("hear", "--json", "--pace", "real", str(SPEECH / "conversation.wav"))
        events.wait_for("speech.started")
        stop_for(10.0, int(patient.status()["vad"]["pid"]))
        out, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
        assert patient.status()["vad"]["restarts"] == 0
    assert [words(turn["transcript"]) for turn in lines(out)] == [words(sentence) for sentence in SENTENCES]


def test_a_hung_process_is_killed_with_its_stacks_in_the_log_and_its_work_goes_on(slow: Assistant) -> None:
    pid = slow.kill("dialogue", signal.SIGSTOP)
    turns = slow.hear(SPEECH / "sum-rms.wav")
    assert [turn["reply"] for turn in turns] == ["Two plus three is five."]
    slow.wait_until_ready("dialogue", but_not_pid=pid)
    assert "Current thread" in (slow.addresses.logs_dir / "dialogue.log").read_text()


def test_open_turns_are_taken_up_by_the_next_start() -> None:
    with assistant(*SLOW_REPLY, PATIENT) as first:
        with first.events("speech.") as events:
            process = first.popen("hear", "--json", "--pace", "fast", str(SPEECH / "conversation.wav"))
            events.wait_for("speech.ended")
        for actor in first.status().values():
            os.kill(actor["pid"], signal.SIGKILL)
        launcher = int((first.addresses.runtime_dir / "lock").read_text())
        os.kill(launcher, signal.SIGKILL)
        process.kill()
        process.communicate()
        first.start()
        first.wait_until(first.remembered, interval_s=0.5)  # the store, not the event: the turn may be over before anybody can listen
        assert words(first.remembered()[0]["transcript"]) == words(SENTENCES[0])
