"""`supervisor turns` over a running assistant: what it heard a moment ago, taken apart."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bus.messages.jobs import JobMoved
from tests.e2e.assistant import COMMAND_TIMEOUT_S, PATIENT, SENTENCES, SPEECH, Assistant, assert_adds_up, assistant, lines
from tests.waiting import wait_until


def test_the_parts_of_every_turn_of_the_conversation_add_up_and_say_who_had_them(running: Assistant) -> None:
    heard = running.hear(SPEECH / "conversation.wav")
    turns = lines(running.run("turns", "--json", "--last", str(len(SENTENCES))).stdout)
    assert [turn["turn"] for turn in turns] == [turn["turn"] for turn in heard]
    for turn in turns:
        assert_adds_up(turn)
        assert turn["first_word_ms"] <= turn["first_clause_ms"] <= turn["total_ms"]
        assert [re.sub(r"-\d+$", "", part["actor"]) for part in turn["parts"]] == [  # a machine with many cores has several workers
            *("vad", "vad", "whisper", "whisper", "dialogue", "dialogue", "memory", "memory", "llm", "llm", "llm", "llm", "memory")
        ]
        assert [one["stage"] for one in turn["attempts"]] == ["transcribe", "heard", "recall", "answer", "answered"]


def test_what_was_said_is_shown_only_when_asked_for(running: Assistant, tmp_path: Path) -> None:
    running.hear(SPEECH / "joke-slt.wav")
    picture = str(tmp_path / "turn.svg")
    for options in ((), ("--json",), ("--turn", "last"), ("--svg", picture), ("--turn", "last", "--svg", picture)):
        told = running.run("turns", *options).stdout + (Path(picture).read_text() if Path(picture).exists() else "")
        assert told
        assert "joke" not in told.lower()
    assert "joke" in running.run("turns", "--words").stdout.lower()


def test_a_worker_that_was_killed_leaves_its_trace_in_the_turn() -> None:
    with assistant("launcher.watchdog_s=60", "whisper.workers=1", "vad.pause_ms=0") as fresh, fresh.events("job.moved") as events:
        pid = fresh.kill("whisper-1", signal.SIGSTOP)  # so that it has the job for certain, and does not finish it
        process = fresh.popen("hear", "--json", "--pace", "fast", str(SPEECH / "sum-rms.wav"))
        moved: JobMoved | None = None
        while moved is None or moved.state != "leased":
            body = events.wait_for("job.moved").body
            assert isinstance(body, JobMoved)
            moved = body
        os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=COMMAND_TIMEOUT_S)
        (turn,) = lines(fresh.run("turns", "--json").stdout)
        assert_adds_up(turn)
        lost, done = [one for one in turn["attempts"] if one["stage"] == "transcribe"]
        assert (lost["worker"], lost["number"], lost["lost"], lost["critical"]) == ("whisper-1", 1, "its worker died", True)
        assert (done["worker"], done["number"], done["lost"]) == ("whisper-1", 2, "")
        queue = next(part for part in turn["parts"] if part["part"] == "stt_queue")
        assert queue["begin_ms"] <= lost["begin_ms"] <= lost["end_ms"] <= queue["begin_ms"] + queue["duration_ms"]
        assert "└ lost, attempt 1" in fresh.run("turns", "--turn", turn["turn"]).stdout


def test_turns_of_the_past_are_shown_and_drawn_without_a_running_assistant(tmp_path: Path) -> None:
    with assistant(PATIENT) as fresh:
        heard = fresh.hear(SPEECH / "sum-rms.wav", SPEECH / "joke-slt.wav")
        fresh.stop()
        assert f"  2 {heard[1]['turn']}" in fresh.run("turns").stdout
        assert f"{heard[0]['turn']}  answered" in fresh.run("turns", "--turn", heard[0]["turn"]).stdout
        said = fresh.run("turns", "--svg", str(tmp_path / "turns.svg")).stdout
        assert said == f"{tmp_path / 'turns.svg'} shows 2 turns.\n"
        assert ElementTree.parse(tmp_path / "turns.svg").getroot().tag.endswith("svg")
        done = fresh.run("turns", "--follow", check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("error: no assistant is running")


def test_followed_turns_come_as_they_are_over(running: Assistant, tmp_path: Path) -> None:
    (before,) = running.hear(SPEECH / "sum-rms.wav")
    told = tmp_path / "told"
    process = running.popen("turns", "--follow", "--json", "--last", "1", output=told)
    try:
        wait_until(lambda: told.read_text().endswith("\n"))  # it has subscribed before it tells of the past
        (after,) = running.hear(SPEECH / "joke-slt.wav")
        wait_until(lambda: told.read_text().count("\n") == 2)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    turns = [json.loads(line) for line in told.read_text().splitlines()]
    assert [turn["turn"] for turn in turns] == [before["turn"], after["turn"]]
    assert_adds_up(turns[1])


@pytest.mark.parametrize(
    ("options", "status", "line"),
    [
        (("--turn", "nobody"), 1, "error: no turn 'nobody' is remembered; `supervisor turns` lists them"),
        (("--follow", "--svg", "x.svg"), 2, "error: --follow goes with neither --turn nor --svg; see `supervisor turns --help`"),
        (("--svg", "/nowhere/x.svg", "--stream", "nobody"), 1, "error: there is no turn to draw yet; `supervisor hear FILE` makes one"),
    ],
)
def test_a_wish_that_cannot_be_met_gets_one_clear_line(running: Assistant, options: tuple[str, ...], status: int, line: str) -> None:
    done = running.run("turns", *options, check=False)
    assert (done.returncode, done.stderr.splitlines()) == (status, [line])
