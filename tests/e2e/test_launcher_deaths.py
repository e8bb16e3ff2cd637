"""The launcher may be killed at any moment: its children die with it, and the next start answers what was open."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.assistant import COMMAND_TIMEOUT_S, PATIENT, ROOT, SENTENCES, SPEECH, SUPERVISOR, Assistant, assistant, lines, placed, words
from tests.waiting import wait_until

SLOW_REPLY = ("rehearsal_llm.first_token_delay_ms=1500", "rehearsal_llm.token_delay_ms=150", PATIENT)
STOP_S = 10

# At which moment of a turn the launcher dies: the event after which it is killed.
MOMENTS = ["speech.started", "speech.ended", "transcript.final", "reply.started", "reply.delta", "reply.finished"]


@pytest.fixture(scope="module")
def slow() -> Iterator[Assistant]:
    with assistant(*SLOW_REPLY) as started:
        yield started


@pytest.fixture
def on_its_way_down() -> Iterator[tuple[Assistant, subprocess.Popen[str]]]:
    """An assistant that is being stopped, and the command that waits for it: all but the last have ended, and one of those will not."""
    with placed(PATIENT, f"launcher.stop_timeout_s={STOP_S}") as found:
        deaf = [sys.executable, "-m", "tests.chaos.with_other_programs", json.dumps({"recorder": "ignore_sigterm"})]
        options = ("--config", "config/rehearsal.toml", *found.options)
        process = subprocess.Popen([*deaf, "start", "--background", *options], cwd=ROOT, env=found.environ)
        wait_until(found.is_ready)
        stopping = found.popen("stop")
        wait_until(lambda: found.status()["recorder"]["state"] == "stopping")
        yield found, stopping
        process.wait(COMMAND_TIMEOUT_S)


def launcher(running: Assistant) -> int:
    return int((running.addresses.runtime_dir / "lock").read_text())


def processes(running: Assistant) -> list[str]:
    """Every living process of the instance, but for `hear` and what it started, and the commands that wait for its end."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environ = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        is_bystander = any(word in command for word in (b"mic", b"hear", b"supervisor.cli\0stop", b"supervisor.cli\0tap"))
        if str(running.addresses.runtime_dir).encode() in environ and not is_bystander and state != "Z":
            found.append(command.replace(b"\0", b" ").decode())
    return found


def kill_launcher(running: Assistant) -> None:
    """Kill it; all of its children die with it, at once."""
    os.kill(launcher(running), signal.SIGKILL)
    wait_until(lambda: not processes(running))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_turn_is_answered_once_although_the_launcher_is_killed_in_it(slow: Assistant, moment: str) -> None:
    with slow.events(moment.partition(".")[0]) as events:
        process = slow.popen("hear", "--json", "--pace", "real", str(SPEECH / "sum-rms.wav"))
        events.wait_for(moment)
        kill_launcher(slow)
    slow.start()
    out, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)
    assert process.returncode == 0, errors
    (turn,) = lines(out)
    assert words(turn["transcript"]) == words("what is two plus three")
    assert turn["reply"] == "Two plus three is five."
    assert Counter(record["turn"] for record in slow.remembered())[turn["turn"]] == 1


def test_it_may_be_killed_twice_in_a_row_and_during_the_start_between(slow: Assistant) -> None:
    with slow.events("speech.") as events:
        process = slow.popen("hear", "--json", "--pace", "fast", str(SPEECH / "conversation.wav"))
        events.wait_for("speech.ended")
        kill_launcher(slow)
    beginning = slow.popen("start", "--config", "config/rehearsal.toml", *slow.options)
    wait_until(lambda: any("actors dispatcher" in command for command in processes(slow)))
    kill_launcher(slow)
    beginning.communicate(timeout=COMMAND_TIMEOUT_S)
    slow.start()
    out, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)
    assert process.returncode == 0, errors
    assert [words(turn["transcript"]) for turn in lines(out)] == [words(sentence) for sentence in SENTENCES]


def test_it_may_be_killed_while_it_stops(on_its_way_down: tuple[Assistant, subprocess.Popen[str]]) -> None:
    stopped, stopping = on_its_way_down
    kill_launcher(stopped)
    stopping.communicate(timeout=COMMAND_TIMEOUT_S)
    stopped.start()
    (turn,) = stopped.hear(SPEECH / "sum-rms.wav")
    assert turn["state"] == "answered"


def test_hear_ends_with_one_line_when_nobody_starts_the_assistant_again() -> None:
    with assistant(*SLOW_REPLY) as dying:
        with dying.events("speech.") as events:
            process = dying.popen("hear", "--json", "--pace", "real", str(SPEECH / "sum-rms.wav"))
            events.wait_for("speech.ended")
            kill_launcher(dying)
        out, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)
        assert (process.returncode, out) == (1, "")
        assert errors.splitlines()[-1].startswith("error: the assistant has stopped; what it had heard is answered when")


def test_the_console_and_the_tap_of_a_dead_launcher_end_by_themselves() -> None:
    with placed() as dying:
        console = dying.popen("start", "--config", "config/rehearsal.toml")
        assert console.stdout is not None
        while "Listening" not in console.stdout.readline():
            pass
        tap = dying.popen("tap", "--json", "broker")
        assert tap.stdout is not None
        assert tap.stdout.readline()
        kill_launcher(dying)
        assert tap.communicate(timeout=COMMAND_TIMEOUT_S)[1] == "the assistant has stopped\n"
        assert tap.returncode == 0
        console.communicate(timeout=COMMAND_TIMEOUT_S)  # its standard output is closed: the child that wrote to it is gone too
        assert console.returncode == -signal.SIGKILL


def test_hear_waits_for_a_launcher_that_is_stopped_while_its_actors_live(slow: Assistant) -> None:
    pid = launcher(slow)
    os.kill(pid, signal.SIGSTOP)
    try:
        (turn,) = slow.hear(SPEECH / "sum-rms.wav", pace="real")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert turn["state"] == "answered"
    assert [actor["restarts"] for actor in slow.status().values()] == [0] * len(slow.status())


def test_a_start_waits_for_an_assistant_that_is_on_its_way_down(on_its_way_down: tuple[Assistant, subprocess.Popen[str]]) -> None:
    stopped, stopping = on_its_way_down
    stopped.start()
    assert stopping.communicate(timeout=COMMAND_TIMEOUT_S)[0] == "Stopped.\n"
    assert {actor["state"] for actor in stopped.status().values()} == {"ready"}


def test_of_two_starts_at_the_same_instant_one_succeeds_and_the_other_says_why_not() -> None:
    with placed(PATIENT) as instance:
        both = [instance.popen("start", "--config", "config/rehearsal.toml", *instance.options, "--detach") for _ in range(2)]
        ends = [(process.communicate(timeout=COMMAND_TIMEOUT_S)[1], process.returncode) for process in both]
        assert sorted(status for _, status in ends) == [0, 1]
        (refusal,) = [errors for errors, status in ends if status == 1]
        assert "an assistant is already running here" in refusal
        assert {actor["state"] for actor in instance.status().values()} == {"ready"}


def test_a_stop_in_the_middle_of_a_start_ends_it() -> None:
    with placed() as instance:
        instance.addresses.prepare()
        with closing(sqlite3.connect(instance.addresses.spool, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")  # so that the start does not come to its own end
            starting = instance.popen("start", "--config", "config/rehearsal.toml", "--detach")
            wait_until(lambda: any("actors dispatcher" in command for command in processes(instance)))
            wait_until(lambda: instance.run("stop", check=False).returncode == 0)
            _, errors = starting.communicate(timeout=COMMAND_TIMEOUT_S)
        assert starting.returncode == 1
        assert errors.splitlines()[-1] == "error: the assistant was stopped before it was ready"  # before it may stand what was waited for
        assert not processes(instance)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_and_a_plain_kill_end_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    environ = {**os.environ, "EARSHOT_RUNTIME_DIR": f"{tmp_path}/run", "EARSHOT_STATE_DIR": f"{tmp_path}/state"}
    command = [*SUPERVISOR, "start", "--config", "config/rehearsal.toml"]
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "Listening" not in process.stdout.readline():
        pass
    process.send_signal(number)
    _, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)
    assert (process.returncode, errors) == (0, "")


def test_a_start_in_the_background_names_what_cannot_work_yet(tmp_path: Path) -> None:
    environ = {**os.environ, "EARSHOT_RUNTIME_DIR": f"{tmp_path}/run", "EARSHOT_STATE_DIR": f"{tmp_path}/state"}
    sets = ("--config", "config/rehearsal.toml", "--set", "llm.url=http://127.0.0.1:9/v1")
    command = [*SUPERVISOR, "start", *sets, "--detach"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    subprocess.run([*SUPERVISOR, "stop"], cwd=ROOT, env=environ, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=True)
    assert (done.returncode, done.stdout[:5]) == (0, "Ready")
    assert "llm: waiting for the LLM server: " in done.stderr
