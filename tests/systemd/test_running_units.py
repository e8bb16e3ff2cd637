"""The units, run by a real systemd: as a user installs, starts, looks at, and breaks them."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from supervisor.topology import parse_cpu_list
from tests.systemd.machine import COMMAND_TIMEOUT_S, CONFIG, SPEECH, SUPERVISOR, Machine, elapsed_s, turns_of

ACTORS = ["broker", "dialogue", "dispatcher", "llm", "memory", "recorder", "rehearsal-llm", "speaker", "tts", "vad", "whisper-1"]
SAID = "What is two plus three?"
SPOKEN_WORDS = ("two plus three", "is five")
STOP_LIMIT_S = 12.0
"""The deadlines of the units one after the other: the actors 3 s, then dispatcher and broker, and a second for the stacks."""
CONFIG_FILE = "/etc/earshot/earshot.toml"
PATIENT = "[Service]\nWatchdogSec=10\n"
"""A machine that is busy with other things is no reason for a restart."""


@pytest.fixture(scope="module")
def installed(machine: Machine) -> Machine:
    """With `supervisor install --systemd` and the rehearsal kit."""
    machine.run(SUPERVISOR, "install", "--systemd")
    machine.write(CONFIG_FILE, CONFIG)
    for unit in ("earshot@.service", "earshot.service"):
        machine.write(f"/run/systemd/system/{unit}.d/50-patient.conf", PATIENT)
    machine.systemctl("daemon-reload")
    return machine


@pytest.fixture(scope="module")
def target(installed: Machine) -> Iterator[Machine]:
    """With earshot.target started."""
    installed.systemctl("start", "earshot.target")
    yield installed
    installed.stop()


@contextmanager
def tapping(machine: Machine, *topics: str) -> Iterator[IO[str]]:
    """What a tap prints that is connected for certain."""
    tap = machine.popen(SUPERVISOR, "tap", *topics, "broker.beat", "--json", "--timeout", str(COMMAND_TIMEOUT_S), user="earshot")
    assert tap.stdout is not None
    assert tap.stdout.readline()
    try:
        yield tap.stdout
    finally:
        tap.stdout.close()  # it ends with its next line
        tap.wait(timeout=COMMAND_TIMEOUT_S)


@contextmanager
def changed(machine: Machine, path: str, text: str) -> Iterator[None]:
    """A file with other contents for a while; without any when it was not there."""
    before = machine.run("cat", path, check=False)
    machine.write(path, text)
    machine.systemctl("daemon-reload")
    try:
        yield
    finally:
        if before.returncode == 0:
            machine.write(path, before.stdout)
        else:
            machine.run("rm", path)
        machine.systemctl("daemon-reload")
        machine.forget_failures()


def test_the_target_starts_every_actor_that_the_configuration_wants(target: Machine) -> None:
    status = target.status()
    assert sorted(status) == ACTORS
    assert {actor["state"] for actor in status.values()} == {"ready"}
    assert target.show("earshot@mic.service", "ConditionResult") == "no"


def test_each_actor_runs_on_the_cpus_that_were_planned_for_it(target: Machine) -> None:
    plan = json.loads(target.supervisor("topology", "--config", CONFIG_FILE, "--json").stdout)
    for name, actor in target.status().items():
        assert actor["incarnation"].endswith(target.show(f"earshot@{name}.service", "InvocationID")[:8])
        planned = plan["whisper"][0]["cpus"] if name == "whisper-1" else plan["light"]
        assert list(parse_cpu_list(actor["cpus"])) == planned, name
    environ = target.run("cat", f"/proc/{target.show('earshot@whisper-1.service', 'MainPID')}/environ").stdout.split("\0")
    assert f"OMP_NUM_THREADS={plan['whisper'][0]['threads']}" in environ


def test_what_is_said_to_the_target_is_answered(target: Machine) -> None:
    (turn,) = target.hear()
    assert turn["transcript"] == SAID
    assert turn["state"] == "answered"
    assert "first_sound" in turn["timings_ms"]  # it was spoken, though by a voice without a device


def test_a_worker_killed_while_it_transcribes_is_replaced_and_its_turn_answered(target: Machine) -> None:
    restarts = int(target.show("earshot@whisper-1.service", "NRestarts"))
    with tapping(target, "job.moved") as tap:
        hearing = target.begin_to_hear()
        assert any(re.search(r'"(leased|ahead)"', line) and "transcribe" in line for line in tap)
        target.systemctl("kill", "--signal=KILL", "earshot@whisper-1.service")
        (turn,) = turns_of(hearing.communicate(timeout=COMMAND_TIMEOUT_S)[0])
    assert turn["transcript"] == SAID
    target.wait_for("earshot@whisper-1.service", ActiveState="active", SubState="running", NRestarts=str(restarts + 1))


@pytest.mark.parametrize("actor", ["dialogue", "broker", "whisper-1"])
def test_an_actor_whose_beat_stops_leaves_its_stacks_comes_back_and_the_turn_is_answered(target: Machine, actor: str) -> None:
    unit = f"earshot@{actor}.service"
    restarts = int(target.show(unit, "NRestarts"))
    with tapping(target, "speech.started") as tap:
        hearing = target.begin_to_hear()
        assert any("speech.started" in line for line in tap)  # without a broker it would not begin
        target.systemctl("kill", "--signal=STOP", unit)
        (turn,) = turns_of(hearing.communicate(timeout=COMMAND_TIMEOUT_S)[0])
    assert turn["transcript"] == SAID
    target.wait_for(unit, ActiveState="active", SubState="running", NRestarts=str(restarts + 1))
    journal = target.journal(unit)
    assert "Watchdog timeout" in journal
    assert "most recent call first" in journal


def test_an_actor_that_hangs_while_it_loads_is_caught_as_well(target: Machine) -> None:
    unit = "earshot@whisper-1.service"
    stops = "[Service]\nExecStart=\nExecStart=/opt/earshot/bin/python -m tests.chaos.stop_while_loading %i\n"
    with changed(target, f"/run/systemd/system/{unit}.d/99-test.conf", stops):
        target.systemctl("restart", "--no-block", unit)
        target.wait_for(unit, ActiveState="active", SubState="running", NRestarts="1")
    assert "stop_while_loading.py" in target.journal(unit)
    target.systemctl("restart", unit)


def test_an_actor_that_always_fails_stays_down_as_failed_and_status_says_so(target: Machine) -> None:
    target.forget_failures()
    with changed(target, "/run/systemd/system/earshot@vad.service.d/99-test.conf", "[Service]\nExecStart=\nExecStart=/bin/false\n"):
        target.systemctl("restart", "earshot@vad.service", check=False)
        target.wait_for("earshot@vad.service", ActiveState="failed", Result="exit-code")
        assert target.show("earshot@vad.service", "NRestarts") == "10"
        assert target.status()["vad"]["state"] == "failed"
        said = target.supervisor("status").stdout
        assert "vad: given up after 10 restarts; ended with exit 1" in said
        assert target.status()["memory"]["state"] == "ready"
        refused = target.supervisor("hear", f"{SPEECH}/sum-rms.wav", check=False)
        assert "vad has failed" in refused.stderr
    target.systemctl("restart", "earshot@vad.service")
    assert target.status()["vad"]["state"] == "ready"


def test_an_actor_that_only_the_user_can_put_right_is_not_restarted(target: Machine) -> None:
    target.run(
        "sh", "-c", "mkdir -p /opt/broken && cp -r /opt/test/src/assets/rehearsal-whisper/* /opt/broken && echo x >/opt/broken/model.bin"
    )
    with changed(target, CONFIG_FILE, f'{CONFIG}model = "/opt/broken"\ndownload = false\n'):
        target.systemctl("restart", "earshot.target")
        target.wait_for("earshot@whisper-1.service", ActiveState="failed", ExecMainStatus=str(os.EX_CONFIG), NRestarts="0")
        assert "cannot load the Whisper model in /opt/broken" in target.supervisor("status").stdout
    target.systemctl("restart", "earshot.target")
    assert target.status()["whisper-1"]["state"] == "ready"


def test_a_second_assistant_is_refused_while_the_target_runs(target: Machine) -> None:
    refused = target.supervisor("start", "--config", CONFIG_FILE, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: systemd runs an assistant in /run/earshot")
    assert target.status()["broker"]["state"] == "ready"


def test_the_service_user_may_look_but_stopping_is_for_root(target: Machine) -> None:
    refused = target.supervisor("stop", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ")
    assert "sudo systemctl stop earshot.target earshot-prepare.service" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_the_service_user_is_told_where_the_logs_are_and_root_sees_them(target: Machine) -> None:
    assert "sudo journalctl --unit=earshot@vad.service" in target.supervisor("logs", "vad", check=False).stderr
    shown = target.run("env", "EARSHOT_RUNTIME_DIR=/run/earshot", SUPERVISOR, "logs", "vad")
    assert "Started earshot@vad.service" in shown.stdout


def test_root_is_told_whose_the_assistant_is(target: Machine) -> None:
    told = target.run(SUPERVISOR, "status", check=False)
    assert "sudo -u earshot" in told.stderr


def test_the_target_stops_within_its_deadline_and_leaves_no_process(target: Machine) -> None:
    begun_s = time.monotonic()
    target.stop()
    assert elapsed_s(begun_s) < STOP_LIMIT_S
    assert target.processes() == []
    assert "no assistant is running" in target.supervisor("status", check=False).stderr


def test_an_actor_that_does_not_stop_leaves_its_stacks_and_is_killed_in_time(installed: Machine) -> None:
    installed.stop()
    deaf = "[Service]\nExecStart=\nExecStart=/opt/earshot/bin/python -m tests.chaos.ignore_sigterm\n"
    deaf += "Environment=EARSHOT_INCARNATION=1.1 EARSHOT_STATE_DIR=/tmp\n"
    with changed(installed, "/run/systemd/system/earshot@vad.service.d/99-test.conf", deaf):
        installed.systemctl("start", "earshot.target")
        assert installed.status()["vad"]["state"] == "ready"
        begun_s = time.monotonic()
        installed.stop()
        assert elapsed_s(begun_s) < STOP_LIMIT_S
        assert installed.processes() == []
        assert "ignore_sigterm.py" in installed.journal("earshot@vad.service")


def test_a_wrong_configuration_is_told_with_its_line_and_nothing_is_started(installed: Machine) -> None:
    with changed(installed, CONFIG_FILE, CONFIG + "[vad]\n"):
        assert installed.systemctl("start", "earshot.target", check=False).returncode != 0
        assert f"{CONFIG_FILE}:{CONFIG.count(chr(10)) + 1}" in installed.journal("earshot-prepare.service")
        assert installed.show("earshot-prepare.service", "ExecMainStatus") == str(os.EX_CONFIG)
        assert installed.systemctl("start", "earshot.service", check=False).returncode != 0
        assert installed.show("earshot.service", "ExecMainStatus") == str(os.EX_CONFIG)
        assert installed.show("earshot.service", "NRestarts") == "0"
        assert installed.show("earshot.service", "ActiveState") == "failed"
    assert installed.processes() == []


def test_the_launcher_as_a_service_takes_over_from_the_target_and_answers(installed: Machine) -> None:
    installed.systemctl("start", "earshot.target")
    installed.systemctl("start", "earshot.service")
    assert "cycl" not in installed.journal()
    assert installed.show("earshot.target", "ActiveState") == "inactive"
    assert installed.show("earshot@broker.service", "ActiveState") == "inactive"
    assert sorted(installed.status()) == ACTORS
    assert installed.hear()[0]["transcript"] == SAID
    installed.run("kill", "-9", str(installed.status()["whisper-1"]["pid"]))
    assert installed.hear()[0]["transcript"] == SAID
    assert installed.status()["whisper-1"]["restarts"] == 1
    installed.systemctl("start", "earshot.target")
    assert installed.show("earshot.service", "ActiveState") == "inactive"
    assert installed.hear()[0]["transcript"] == SAID
    installed.systemctl("start", "earshot.target")
    installed.stop()
    assert "cycl" not in installed.journal()


def test_a_launcher_whose_beat_stops_comes_back_with_its_actors_and_the_turn(installed: Machine) -> None:
    installed.systemctl("start", "earshot.service")
    before = installed.show("earshot.service", "MainPID")
    installed.systemctl("kill", "--kill-whom=main", "--signal=STOP", "earshot.service")
    installed.wait_for("earshot.service", NRestarts="1", SubState="running", ActiveState="active")
    assert installed.show("earshot.service", "MainPID") != before
    assert "Watchdog timeout" in installed.journal("earshot.service")
    assert "most recent call first" in installed.journal("earshot.service")
    assert installed.hear()[0]["transcript"] == SAID


def test_stopping_the_service_from_inside_is_no_failure(installed: Machine) -> None:
    installed.systemctl("start", "earshot.service")
    begun_s = time.monotonic()
    installed.supervisor("stop")
    installed.wait_for("earshot.service", ActiveState="inactive")
    assert elapsed_s(begun_s) < STOP_LIMIT_S
    assert installed.processes() == []


def test_the_journal_has_a_line_for_each_start_and_no_spoken_word(installed: Machine) -> None:
    installed.run("journalctl", "--rotate")
    installed.run("journalctl", "--vacuum-time=1s")
    installed.systemctl("start", "earshot.target")
    installed.hear()
    installed.stop()
    journal = installed.journal()
    for actor in ACTORS:
        assert journal.count(f"Started earshot@{actor}.service") == 1, actor
        assert journal.count(f"Stopped earshot@{actor}.service") == 1, actor
    everything = (journal + installed.run("sh", "-c", "cat /var/lib/earshot/logs/*.log").stdout).lower()
    assert [words for words in SPOKEN_WORDS if words in everything] == []
