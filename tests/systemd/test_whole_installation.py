"""From a bare machine to a running assistant and back, for the whole machine and for one user."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.systemd.machine import CONFIG, SPEECH, SUPERVISOR, Machine, turns_of
from tests.waiting import wait_until

SAID = "What is two plus three?"
USERS_FILES = {"passwd", "group", "shadow", "gshadow", "passwd-", "group-", "shadow-", "gshadow-"}


def files_in_etc(machine: Machine) -> set[str]:
    return {
        line for line in machine.run("find", "/etc", "-not", "-type", "d").stdout.splitlines() if line.split("/")[-1] not in USERS_FILES
    }


def test_only_root_installs_for_the_whole_machine(machine: Machine) -> None:
    refused = machine.run(SUPERVISOR, "install", "--systemd", user="anna", check=False)
    assert refused.returncode == 1
    assert refused.stderr == "error: the units of the whole machine are written by root: use sudo, or --user for yourself alone\n"


def test_an_interpreter_in_a_home_directory_is_refused_with_what_to_do(machine: Machine) -> None:
    machine.run("cp", "-r", "/opt/earshot", "/home/anna/venv")
    refused = machine.run("/home/anna/venv/bin/python", "-m", "supervisor.cli", "install", "--systemd", check=False)
    assert refused.returncode == 1
    assert "cannot run /home/anna/venv/bin/python" in refused.stderr
    assert "--user" in refused.stderr
    assert machine.run("test", "-e", "/etc/earshot", check=False).returncode == 1


def test_uninstalling_stops_everything_and_leaves_only_what_was_said(machine: Machine) -> None:
    before = files_in_etc(machine)
    machine.run(SUPERVISOR, "install", "--systemd")
    machine.write("/etc/earshot/earshot.toml", CONFIG)
    machine.systemctl("enable", "--now", "earshot.target")
    machine.hear()
    machine.run(SUPERVISOR, "uninstall", "--systemd")
    assert machine.processes() == []
    assert files_in_etc(machine) - before == {"/etc/earshot/earshot.toml"}  # it was changed
    assert machine.run("ls", "/var/lib/earshot/memory.sqlite3")
    assert machine.systemctl("list-units", "--all", "--no-legend", "earshot*").stdout == ""
    machine.run(SUPERVISOR, "install", "--systemd")
    machine.run(SUPERVISOR, "uninstall", "--systemd", "--purge")
    assert files_in_etc(machine) == before
    assert machine.run("test", "-e", "/var/lib/earshot", check=False).returncode == 1


def test_the_container_of_the_language_model_is_started_as_the_environment_file_says(machine: Machine) -> None:
    machine.write("/usr/local/bin/docker", '#!/bin/sh\necho "$@" >>/tmp/docker.log\n[ "$1" = run ] && exec sleep 60\nexit 0\n')
    machine.run("chmod", "755", "/usr/local/bin/docker")
    machine.run(SUPERVISOR, "install", "--systemd")
    machine.write("/etc/earshot/earshot.env", "VLLM_SERVE=/models/llama3-70b --max-num-seqs 8\nVLLM_MODELS=/srv/models\n")
    machine.write("/run/systemd/system/earshot-vllm.service.d/99-test.conf", "[Service]\nPrivateTmp=no\nReadWritePaths=/tmp\n")
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "earshot-vllm.service")
    wait_until(lambda: "run" in machine.run("cat", "/tmp/docker.log").stdout)
    machine.systemctl("stop", "earshot-vllm.service")
    removed, run, stopped = machine.run("cat", "/tmp/docker.log").stdout.splitlines()
    assert removed == "rm --force earshot-vllm"
    assert run == (
        "run --rm --name earshot-vllm --gpus all --ipc=host --ulimit memlock=-1 --ulimit stack=67108864 "
        "--publish 127.0.0.1:8000:8000 --volume /srv/models:/models:ro "
        "nvcr.io/nvidia/vllm:25.11-py3 vllm serve /models/llama3-70b --max-num-seqs 8"
    )
    assert stopped == "stop --time 20 earshot-vllm"
    machine.run(SUPERVISOR, "uninstall", "--systemd", "--purge")


class Anna:
    """A user with a service manager of her own."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        runtime = f"/run/user/{machine.run('id', '-u', 'anna').stdout.strip()}"
        self._environ = ["HOME=/home/anna", f"XDG_RUNTIME_DIR={runtime}"]
        machine.run("install", "-d", "-m", "700", "-o", "anna", runtime)
        machine.run(
            "systemd-run", "--quiet", "--unit=anna", "--uid=anna", "-p", "Delegate=yes", "-p", "Type=notify",
            *(f"--setenv={value}" for value in self._environ), "/lib/systemd/systemd", "--user",
        )  # fmt: skip

    def run(self, *command: str) -> str:
        return self._machine.run("env", *self._environ, *command, user="anna").stdout

    def states(self) -> list[tuple[str, str]]:
        """Each actor, and how it is."""
        return [(actor["actor"], actor["state"]) for actor in map(json.loads, self.run(SUPERVISOR, "status", "--json").splitlines())]

    def turns(self) -> list[str]:
        """What was heard so far."""
        return [json.loads(line)["transcript"] for line in self.run(SUPERVISOR, "memory", "export", "--json").splitlines()]


@pytest.fixture(scope="module")
def anna(machine: Machine) -> Anna:
    user = Anna(machine)
    said = user.run(SUPERVISOR, "install", "--systemd", "--user")
    assert "systemctl --user enable --now earshot.service" in said
    return user


@pytest.mark.skipif(not shutil.which("pulseaudio"), reason="not installed here: pulseaudio (see tests/fakes/virtual_microphone.py)")
def test_the_units_of_a_user_hear_the_users_microphone(anna: Anna, machine: Machine) -> None:
    machine.write("/home/anna/.config/earshot/earshot.toml", CONFIG + '[mic]\nsource = "device"\n')
    anna.run("systemd-run", "--user", "--quiet", "--unit=sound", "pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1",
             "--load=module-native-protocol-unix", "--load=module-null-sink")  # fmt: skip
    wait_until(lambda: "Server Name" in anna.run("sh", "-c", "pactl info 2>&1 || true"))
    anna.run("systemctl", "--user", "start", "earshot.target")
    wait_until(lambda: ("mic", "ready") in anna.states())
    anna.run("paplay", f"{SPEECH}/sum-rms.wav")  # to the speaker, whose monitor is the microphone
    wait_until(lambda: SAID in anna.turns())
    anna.run(SUPERVISOR, "stop")


def test_a_user_installs_and_runs_it_alone(anna: Anna, machine: Machine) -> None:
    machine.write("/home/anna/.config/earshot/earshot.toml", CONFIG)
    for unit in ("earshot.target", "earshot.service"):
        anna.run("systemctl", "--user", "start", unit)
        (turn,) = turns_of(anna.run(SUPERVISOR, "hear", "--json", f"{SPEECH}/sum-rms.wav"))
        assert turn["transcript"] == SAID
    anna.run(SUPERVISOR, "stop")
    anna.run("systemctl", "--user", "start", "earshot.target")
    anna.run(SUPERVISOR, "restart", "memory")
    anna.run(SUPERVISOR, "stop")
    assert not [line for line in machine.processes("anna") if "actors" in line]
    anna.run(SUPERVISOR, "uninstall", "--systemd", "--user", "--purge")
    assert anna.run("find", "/home/anna/.config", "/home/anna/.local", "-name", "*earshot*").strip() == ""
