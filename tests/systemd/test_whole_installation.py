"""From a bare machine to a running assistant and back, for the whole machine and for one user."""

from __future__ import annotations

from tests.systemd.machine import CONFIG, SPEECH, SUPERVISOR, Machine, turns_of
from tests.waiting import wait_until

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


def test_a_user_installs_and_runs_it_alone(machine: Machine) -> None:
    uid = machine.run("id", "-u", "anna").stdout.strip()
    runtime = f"/run/user/{uid}"
    environ = ["env", "HOME=/home/anna", f"XDG_RUNTIME_DIR={runtime}"]

    def as_anna(*command: str, check: bool = True) -> str:
        return machine.run(*environ, *command, user="anna", check=check).stdout

    machine.run("install", "-d", "-m", "700", "-o", "anna", runtime)
    machine.run(
        "systemd-run", "--quiet", "--unit=anna", "--uid=anna", "-p", "Delegate=yes", "-p", "Type=notify",
        *(f"--setenv={value}" for value in environ[1:]), "/lib/systemd/systemd", "--user",
    )  # fmt: skip
    said = as_anna(SUPERVISOR, "install", "--systemd", "--user")
    assert "systemctl --user enable --now earshot.service" in said
    machine.write("/home/anna/.config/earshot/earshot.toml", CONFIG)
    for unit in ("earshot.target", "earshot.service"):
        as_anna("systemctl", "--user", "start", unit)
        (turn,) = turns_of(as_anna(SUPERVISOR, "hear", "--json", f"{SPEECH}/sum-rms.wav"))
        assert turn["transcript"] == "What is two plus three?"
    as_anna(SUPERVISOR, "stop")
    as_anna("systemctl", "--user", "start", "earshot.target")
    as_anna(SUPERVISOR, "restart", "memory")
    as_anna(SUPERVISOR, "stop")
    assert not [line for line in machine.processes("anna") if "actors" in line]
    as_anna(SUPERVISOR, "uninstall", "--systemd", "--user", "--purge")
    assert as_anna("find", "/home/anna/.config", "/home/anna/.local", "-name", "*earshot*").strip() == ""
