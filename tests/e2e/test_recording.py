"""`supervisor record`: a session on purpose, from the command line."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path

import pytest
import soundfile

from bus.limits import FRAME_SAMPLES
from bus.recording import Recording, Sound
from tests.e2e.assistant import COMMAND_TIMEOUT_S, SPEECH, Assistant, lines, words
from tests.waiting import wait_until


def test_a_session_is_recorded_with_its_sound_and_its_words(running: Assistant, tmp_path: Path) -> None:
    file = tmp_path / "session.mcap"
    assert "supervisor record stop" in running.run("record", str(file), "--detach").stdout
    running.hear(SPEECH / "sum-rms.wav", pace="real")
    assert str(file) in running.run("record", "stop").stdout
    recorded = [item.what for item in Recording(file)]
    heard = [item for item in recorded if isinstance(item, Sound)]
    finished = [item.body.record for item in recorded if getattr(item, "topic", "") == "turn.finished"]  # type: ignore[union-attr]
    assert [words(record.transcript) for record in finished] == [words("what is two plus three")]
    samples = soundfile.info(SPEECH / "sum-rms.wav").frames
    assert sum(len(item.captured_ns) for item in heard) == math.ceil(samples / FRAME_SAMPLES)
    assert [item.first_sample for item in heard] == [
        sum(len(other.captured_ns) for other in heard[:at]) * FRAME_SAMPLES for at in range(len(heard))
    ]


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl+C", "the terminal is closed"])
def test_in_the_foreground_it_records_until_ctrl_c(running: Assistant, tmp_path: Path, ends: signal.Signals) -> None:
    file = tmp_path / "session.mcap"
    process = running.popen("record", str(file), "--no-sound", "--no-words")
    wait_until(file.exists)
    running.hear(SPEECH / "sum-rms.wav")
    process.send_signal(ends)
    out, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)
    assert process.returncode == 0, errors
    assert "Ctrl+C ends it" in out
    topics = [item.what.topic for item in Recording(file)]  # type: ignore[union-attr]
    assert "turn.finished" in topics
    assert b"two plus three" not in file.read_bytes()


def test_who_else_wants_to_record_is_refused_and_the_first_goes_on(running: Assistant, tmp_path: Path) -> None:
    file = tmp_path / "first.mcap"
    process = running.popen("record", str(file))
    assert process.stdout is not None
    process.stdout.readline()
    for other in (tmp_path / "second.mcap", file):
        refused = running.run("record", str(other), "--no-words", check=False)
        assert refused.returncode == 1
        assert "is being recorded already" in refused.stderr
    running.hear(SPEECH / "sum-rms.wav")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)
    assert process.returncode == 0, errors
    assert "turn.finished" in [getattr(item.what, "topic", "") for item in Recording(file)]


def test_a_recording_ends_when_its_command_is_killed(running: Assistant, tmp_path: Path) -> None:
    file = tmp_path / "session.mcap"
    process = running.popen("record", str(file))
    with running.events("record.state") as events:
        for _ in range(2):  # the second is the answer to its saying that it is there still
            assert events.wait_for("record.state").body.state == "recording"  # type: ignore[attr-defined]
        process.kill()
        process.communicate(timeout=COMMAND_TIMEOUT_S)
        wait_until(lambda: events.wait_for("record.state").body.state == "done")  # type: ignore[attr-defined]
    assert "nothing is being recorded" in running.run("record", "stop", check=False).stderr


def test_a_recorder_killed_in_the_middle_costs_the_last_moment_alone(running: Assistant, tmp_path: Path) -> None:
    file = tmp_path / "session.mcap"
    running.run("record", str(file), "--detach")
    running.hear(SPEECH / "sum-rms.wav")
    wait_until(lambda: any(getattr(item.what, "topic", "") == "turn.finished" for item in Recording(file)))
    pid = running.kill("recorder")
    running.wait_until_ready("recorder", but_not_pid=pid)
    running.hear(SPEECH / "sum-rms.wav")
    told = running.run("record", "stop").stdout
    assert f"{file}, {tmp_path / 'session-2.mcap'}: " in told
    assert "are missing between the files" in told
    assert any(getattr(item.what, "topic", "") == "turn.finished" for item in Recording(tmp_path / "session-2.mcap"))


def test_what_cannot_be_recorded_is_one_line(running: Assistant, tmp_path: Path) -> None:
    (tmp_path / "there.mcap").write_bytes(b"")
    for arguments, complaint in (
        ((str(tmp_path / "there.mcap"),), "it is there already"),
        ((str(tmp_path / "no" / "a.mcap"),), "No such file"),
        (("stop",), "nothing is being recorded"),
        ((os.fsdecode(b"\xff.mcap"),), "take one in UTF-8"),
    ):
        done = running.run("record", *arguments, check=False)
        assert done.returncode == 1
        assert complaint in done.stderr
        assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there.mcap"]


def test_a_replay_of_a_recording_finds_no_difference_and_a_change_of_a_setting_finds_some(running: Assistant, tmp_path: Path) -> None:
    file = tmp_path / "session.mcap"
    running.run("record", str(file), "--detach")
    running.hear(SPEECH / "sum-rms.wav", pace="real")
    running.run("record", "stop")
    same = running.run("replay", str(file), "--pace", "fast", "--stub", "llm", "--json")
    (stretch,) = lines(same.stdout)
    assert stretch["differs"] == []
    assert stretch["before"]["transcript"] == stretch["after"]["transcript"] != ""
    assert stretch["after"]["reply"] == "Two plus three is five."
    changed = running.run("replay", str(file), "--pace", "fast", "--set", "vad.pre_roll_ms=60", check=False)
    assert changed.returncode == 3
    assert "segment" in changed.stdout
    assert "stretches of speech: 1, with differences: 1" in changed.stdout


def test_what_cannot_be_replayed_is_one_line(running: Assistant, tmp_path: Path) -> None:
    running.run("record", str(tmp_path / "silent.mcap"), "--no-sound", "--detach")
    running.run("record", "stop")
    for file, complaint in (
        (SPEECH / "sum-rms.wav", "does not begin as an MCAP file does"),
        (tmp_path / "missing.mcap", "No such file"),
        (tmp_path / "silent.mcap", "there is no sound in"),
    ):
        done = running.run("replay", str(file), check=False)
        assert done.returncode == 1
        assert complaint in done.stderr
        assert done.stderr.count("\n") == 1
