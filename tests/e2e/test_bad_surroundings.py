"""A broken server, model, configuration or directory gets one clear line, and nothing that was said is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.rehearsal_llm.server import RehearsalServer
from tests.e2e.assistant import COMMAND_TIMEOUT_S, PATIENT, ROOT, SPEECH, SUPERVISOR, Assistant, assistant, everything_in, lines, words
from tests.ports import port_without_a_server


def start(directory: Path, *options: str, config: str = "config/rehearsal.toml", detach: bool = False) -> subprocess.CompletedProcess[str]:
    """Try to start; return how it ended."""
    environ = {**os.environ, "EARSHOT_RUNTIME_DIR": f"{directory}/run", "EARSHOT_STATE_DIR": f"{directory}/state"}
    command = [*SUPERVISOR, "start", "--config", config, *(part for option in options for part in ("--set", option))]
    command += ["--detach"] * detach
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    assert "Traceback" not in done.stderr + done.stdout
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("fault", ["error-500", "empty", "break-off", "abort", "engine-death"])
def test_one_bad_answer_of_the_server_is_made_up_for(running: Assistant, fault: str) -> None:
    running.rehearse(fault=fault, times=1)
    (turn,) = running.hear(SPEECH / "sum-rms.wav")
    assert (turn["state"], turn["reply"]) == ("answered", "Two plus three is five.")


@pytest.mark.parametrize("fault", ["error-500", "html", "break-off"])
def test_a_server_that_stays_bad_brings_an_apology_and_the_next_turn_is_answered(running: Assistant, fault: str) -> None:
    running.rehearse(fault=fault, times=100)
    (failed,) = running.hear(SPEECH / "sum-rms.wav")
    assert failed["state"] == "failed"
    assert words(failed["transcript"]) == words("what is two plus three")
    assert "Sorry" in failed["reply"]
    running.rehearse(fault="")
    (turn,) = running.hear(SPEECH / "sum-rms.wav")
    assert turn["state"] == "answered"


def test_a_server_that_hangs_is_given_up_at_its_deadline() -> None:
    with assistant("llm.first_token_timeout_s=3", "llm.warm=false", PATIENT) as impatient:
        impatient.rehearse(fault="hang", times=1)
        (turn,) = impatient.hear(SPEECH / "sum-rms.wav")
        assert turn["state"] == "answered"


@pytest.mark.parametrize("template", ["alternating", "no-system"])
def test_a_strict_chat_template_is_served_on_every_turn(template: str) -> None:
    with assistant(PATIENT) as strict:
        strict.rehearse(template=template)
        turns = strict.hear(SPEECH / "sum-rms.wav", SPEECH / "joke-slt.wav", SPEECH / "sum-rms.wav")
        assert [turn["state"] for turn in turns] == ["answered"] * 3


def test_a_server_that_is_not_there_yet_is_waited_for_and_the_user_is_told() -> None:
    with (
        port_without_a_server() as port,
        assistant(f"llm.url=http://127.0.0.1:{port}/v1", "llm.model=rehearsal", PATIENT) as waiting,
        waiting.events("reply.") as events,
    ):
        process = waiting.popen("hear", "--json", "--pace", "fast", str(SPEECH / "sum-rms.wav"))
        told = events.wait_for("reply.waiting")
        assert str(port) in getattr(told.body, "reason", "")
        with RehearsalServer(port=port) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            (turn,) = lines(process.communicate(timeout=COMMAND_TIMEOUT_S)[0])
            server.shutdown()
    assert turn["reply"] == "Two plus three is five."


@pytest.fixture(scope="module")
def wrong() -> Iterator[Assistant]:
    """An assistant that asks for a model that nobody serves."""
    with assistant("llm.model=rehersal", PATIENT) as started:
        yield started


def test_a_wrong_model_name_is_answered_with_those_that_are_served(wrong: Assistant) -> None:
    (turn,) = wrong.hear(SPEECH / "sum-rms.wav")
    assert turn["state"] == "failed"
    record = wrong.remembered()[-1]
    assert record["turn"] == turn["turn"]
    assert "rehearsal" in record["detail"]


def test_an_apology_is_told_by_the_exit_status_of_hear(wrong: Assistant) -> None:
    done = wrong.run("hear", str(SPEECH / "sum-rms.wav"), check=False)
    assert done.returncode == 3
    assert "Sorry" in done.stdout


def test_what_was_given_up_is_forgotten_too(wrong: Assistant) -> None:
    wrong.hear(SPEECH / "sum-rms.wav")
    assert b"two plus three" in everything_in(wrong.addresses.state_dir)
    wrong.run("memory", "forget", "--all", "--yes")
    wrong.wait_until(lambda: b"two plus three" not in everything_in(wrong.addresses.state_dir))


def test_json_lines_stay_clean_and_the_wait_for_the_server_is_told_beside_them() -> None:
    with assistant("llm.url=http://127.0.0.1:9/v1", "llm.model=rehearsal", PATIENT) as waiting:
        process = waiting.popen("hear", "--json", str(SPEECH / "sum-rms.wav"))
        assert process.stderr is not None
        assert any("waiting for the language model: " in line for line in process.stderr)
        process.kill()
        assert process.communicate()[0] == ""


def test_standard_input_as_the_source_needs_a_foreground_start(tmp_path: Path) -> None:
    done = start(tmp_path, "mic.source=stdin", detach=True)
    assert "needs a foreground start" in last_line(done)


def test_a_directory_without_a_model_ends_the_start_with_one_line(tmp_path: Path) -> None:
    line = last_line(start(tmp_path, f"whisper.model={tmp_path}"))
    assert str(tmp_path) in line
    assert "model.bin" in line


def test_a_runtime_directory_too_long_for_sockets_is_refused_with_advice(tmp_path: Path) -> None:
    line = last_line(start(tmp_path / ("long" * 30)))
    assert "107" in line
    assert "EARSHOT_RUNTIME_DIR" in line


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[whisper]\nmodle = "small.en"\n', "did you mean"),
        ("[vad]\nmode = 9\n", "vad.mode"),
        ('[memory]\nrounds = "five"\n', "memory.rounds"),
        ("[llm\n", "line 1"),
    ],
)
def test_a_wrong_configuration_names_the_file_and_the_key(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    done = start(tmp_path, config=str(tmp_path / "mine.toml"))
    assert done.returncode == os.EX_CONFIG
    assert "mine.toml" in done.stderr
    assert complaint in done.stderr.replace("mine.toml:1", "line 1")


def test_a_second_start_is_refused_and_the_first_goes_on(running: Assistant) -> None:
    done = running.run("start", "--config", "config/rehearsal.toml", check=False)
    assert done.returncode == 1
    assert "already running" in done.stderr
    assert running.status()["broker"]["state"] == "ready"


def test_ctrl_c_ends_a_foreground_start_with_nothing_left_over(tmp_path: Path) -> None:
    environ = {**os.environ, "EARSHOT_RUNTIME_DIR": f"{tmp_path}/run", "EARSHOT_STATE_DIR": f"{tmp_path}/state"}
    command = [*SUPERVISOR, "start", "--config", "config/rehearsal.toml"]
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "Listening" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=COMMAND_TIMEOUT_S)
    assert process.returncode in (0, 130)
    marked = [path for path in Path("/proc").glob("[0-9]*/environ") if _has(path, str(tmp_path / "run"))]
    assert marked == []


def _has(path: Path, text: str) -> bool:
    try:
        return text.encode() in path.read_bytes()
    except OSError:
        return False
