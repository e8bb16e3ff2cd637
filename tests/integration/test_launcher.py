"""The launcher with real processes that misbehave (`tests/chaos`): every one of them ends in a named state, and in time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bus.addresses import Addresses
from bus.messages.control import ActorInfo, ControlDone, ControlRestart, ControlState, ControlStatus
from supervisor import client
from supervisor.control import ask
from supervisor.instance import is_running
from tests.processes import is_alive
from tests.waiting import DEADLINE_S, wait_until

STOP_S = 1.0
IN_TIME_S = 10 * STOP_S
"""What does not end by itself would take for ever; a busy machine makes the rest of it slow."""
FIRST_BEAT_S = 8.0
"""For the life that never has it; the next one starts on a machine that may be busy."""
QUICK = {
    "restart": {"initial_s": 0.05, "max_s": 0.5, "budget": 3, "window_s": 60.0},
    "first_beat_s": 20.0,
    "stop_s": STOP_S,
    "stacks_s": 20.0,
}


class Instance:
    """A launcher in a process of its own, with chaos programs as its children."""

    def __init__(self, directory: Path) -> None:
        self.addresses = Addresses(directory / "r", directory / "s")
        self.addresses.prepare()
        self.process: subprocess.Popen[str] | None = None

    def launch(self, *children: dict[str, Any], **patience: Any) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.launch", json.dumps(children), json.dumps({**QUICK, **patience})],
            env={**os.environ, **self.addresses.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def end(self) -> tuple[int, str]:
        """Wait for the launcher's end; return its status and what it said."""
        assert self.process is not None
        _, errors = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, errors

    def actors(self) -> dict[str, ActorInfo]:
        if not is_running(self.addresses) or not (self.addresses.runtime_dir / "control").exists():
            return {}
        return {actor.actor: actor for actor in ask(self.addresses, ControlStatus(), ControlState, DEADLINE_S).actors}

    def wait_for(self, name: str, **wanted: Any) -> ActorInfo:
        """Wait until an actor's status has these values."""
        found: list[ActorInfo] = []

        def is_so() -> bool:
            found[:] = [actor for actor in self.actors().values() if actor.actor == name]
            return bool(found) and all(getattr(found[0], key) == value for key, value in wanted.items())

        wait_until(is_so, interval_s=0.05)
        return found[0]

    def lives(self, program: str) -> list[tuple[str, int, float]]:
        """Incarnation, process id and time of each life that a program has left a mark of."""
        marks = self.addresses.state_dir / "marks"
        lines = [line.split() for line in marks.read_text().splitlines()] if marks.exists() else []
        return [(incarnation, int(pid), float(at_s)) for name, incarnation, pid, at_s in lines if name == program]

    def log(self, name: str) -> str:
        return (self.addresses.logs_dir / f"{name}.log").read_text()


@pytest.fixture
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    there = Instance(tmp_path_factory.mktemp("i"))
    yield there
    if there.process is not None and there.process.poll() is None:
        there.process.kill()
        there.process.communicate()


def child(name: str, program: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "program": program, **options}


def test_a_crash_is_followed_by_a_new_incarnation_with_growing_pauses(instance: Instance) -> None:
    instance.launch(child("a", "crash_twice"))
    ready = instance.wait_for("a", state="ready", restarts=2)
    assert ready.last_exit == "signal SIGKILL"
    lives = instance.lives("crash_twice")
    launch = lives[0][0].partition(".")[0]
    assert [incarnation for incarnation, _, _ in lives] == [f"{launch}.{number}" for number in (1, 2, 3)]
    pauses_s = [later[2] - earlier[2] for earlier, later in pairwise(lives)]
    assert pauses_s[0] >= 0.04
    assert pauses_s[1] >= 0.12


def test_a_child_that_never_gets_ready_ends_the_start_with_its_reason(instance: Instance) -> None:
    instance.launch(child("good", "behave"), child("bad", "crash_at_once"))
    status, errors = instance.end()
    assert status == 1
    assert errors.startswith("error: given up after 3 restarts within 60 s: bad ended with exit 3")
    assert len(errors.splitlines()) == 1
    assert len(instance.lives("crash_at_once")) == 4
    assert not any(is_alive(pid) for _, pid, _ in instance.lives("behave"))


def test_what_only_the_user_can_put_right_is_told_at_once_in_the_childs_own_words(instance: Instance) -> None:
    instance.launch(child("bad", "misconfigured"))
    assert instance.end() == (1, "error: there is no model here; set whisper.model\n")
    assert len(instance.lives("misconfigured")) == 1


def test_a_failure_after_the_start_leaves_the_others_alone_and_can_be_revived(instance: Instance) -> None:
    instance.launch(child("good", "behave"), child("late", "crash_when_ready", wave=1))  # else it might be given up in the start
    failed = instance.wait_for("late", state="failed")
    assert failed.detail.startswith("given up after 3 restarts")
    instance.wait_for("good", state="ready", restarts=0)
    before = len(instance.lives("crash_when_ready"))
    ask(instance.addresses, ControlRestart(actor="late"), ControlDone)
    wait_until(lambda: len(instance.lives("crash_when_ready")) > before)


@pytest.mark.parametrize(
    ("program", "function"),
    [("hang_in_idle", "wait_for_a_lock_that_nobody_gives_back"), ("hang_with_the_gil", "sleep_in_native_code")],
)
def test_a_hang_ends_with_the_stacks_in_the_log_and_a_restart(instance: Instance, program: str, function: str) -> None:
    instance.launch(child("a", program))
    assert instance.wait_for("a", state="ready", restarts=1).last_exit == "signal SIGABRT"
    assert function in instance.log("a")
    assert re.search(r"a \w+\.1 stopping: a hung in phase idle \(no beat\)", instance.log("launcher"))


def test_a_hang_before_the_first_beat_is_noticed_too(instance: Instance) -> None:
    instance.launch(child("a", "hang_at_start"), first_beat_s=FIRST_BEAT_S)
    assert instance.wait_for("a", state="ready", restarts=1).last_exit == "signal SIGABRT"
    assert "hang_at_start.py" in instance.log("a")


def test_a_stopped_process_is_hung_and_replaced(instance: Instance) -> None:
    instance.launch(child("a", "stop_itself"))
    assert instance.wait_for("a", state="ready", restarts=1).last_exit == "signal SIGABRT"


def test_a_child_that_does_not_stop_is_killed_in_time_and_the_others_stop_cleanly(instance: Instance) -> None:
    process = instance.launch(child("good", "behave"), child("deaf", "ignore_sigterm"))
    instance.wait_for("deaf", state="ready")
    instance.wait_for("good", state="ready")
    begin_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert instance.end() == (0, "")
    assert time.monotonic() - begin_s < IN_TIME_S
    assert re.search(r"good \S+ ended: exit 0", instance.log("launcher"))
    assert re.search(r"deaf \S+ ended: signal SIG(ABRT|KILL)", instance.log("launcher"))


def test_a_second_interrupt_does_not_wait_for_anybody(instance: Instance) -> None:
    process = instance.launch(child("deaf", "ignore_sigterm"), stop_s=25.0)
    instance.wait_for("deaf", state="ready")
    process.send_signal(signal.SIGINT)
    instance.wait_for("deaf", state="stopping")
    process.send_signal(signal.SIGINT)
    assert instance.end() == (0, "")
    assert "deaf" in instance.log("launcher")
    assert "signal SIGKILL" in instance.log("launcher")


def test_no_child_outlives_a_launcher_that_was_killed(instance: Instance) -> None:
    process = instance.launch(child("a", "behave"), child("b", "ignore_sigterm"), child("c", "hang_at_start"))
    wait_until(lambda: all(instance.lives(program) for program in ("behave", "ignore_sigterm", "hang_at_start")))
    pids = [instance.lives(program)[0][1] for program in ("behave", "ignore_sigterm", "hang_at_start")]
    assert all(map(is_alive, pids))
    process.kill()
    wait_until(lambda: not any(map(is_alive, pids)))
    process.wait(timeout=DEADLINE_S)  # the lock is free when the last of its threads is gone; the children are told of the first
    assert not is_running(instance.addresses)
    instance.launch(child("a", "behave"))  # and what it left behind does not hinder the next
    instance.wait_for("a", state="ready")


def test_what_a_child_started_dies_with_it(instance: Instance) -> None:
    instance.launch(child("a", "leave_a_child"))
    assert instance.end()[0] == 1
    grandchild = int((instance.addresses.state_dir / "grandchild").read_text())
    wait_until(lambda: not is_alive(grandchild))


def test_one_child_in_back_off_does_not_delay_another(instance: Instance) -> None:
    restart = {"initial_s": 120.0, "max_s": 120.0, "budget": 3, "window_s": 600.0}
    instance.launch(child("slow", "crash_when_ready"), child("quick", "behave"), restart=restart)
    instance.wait_for("slow", state="backing-off")
    first = instance.wait_for("quick", state="ready")
    ask(instance.addresses, ControlRestart(actor="quick"), ControlDone)
    assert instance.wait_for("quick", state="ready", restarts=1).pid != first.pid
    assert instance.actors()["slow"].state == "backing-off"


def test_a_flood_on_standard_error_neither_blocks_the_child_nor_the_launcher(instance: Instance) -> None:
    instance.launch(child("loud", "flood_stderr", watchdog_s=20.0), child("good", "behave"))
    instance.wait_for("loud", state="ready")
    instance.wait_for("good", state="ready")
    ask(instance.addresses, ControlRestart(actor="loud"), ControlDone)
    instance.wait_for("loud", state="ready", restarts=1)
    sizes = [path.stat().st_size for path in instance.addresses.logs_dir.glob("loud.log*")]
    assert len(sizes) == 2  # what was over the limit was moved away before the second life


def test_a_flood_of_notices_leaves_the_launcher_responsive(instance: Instance) -> None:
    process = instance.launch(child("loud", "flood_notify"), child("good", "behave", watchdog_s=5.0))
    instance.wait_for("loud", state="ready")
    instance.wait_for("good", state="ready")
    process.send_signal(signal.SIGTERM)
    assert instance.end() == (0, "")


def test_a_terminal_that_is_held_holds_only_the_one_who_writes_to_it(instance: Instance) -> None:
    process = instance.launch(child("console", "wait_for_the_terminal", terminal=True, watchdog_s=None), child("good", "behave"))
    instance.wait_for("console", state="ready")
    instance.wait_for("good", state="ready")
    ask(instance.addresses, ControlRestart(actor="good"), ControlDone)
    instance.wait_for("good", state="ready", restarts=1)
    begin_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=DEADLINE_S)  # without reading what the console wrote: that would set it free
    assert time.monotonic() - begin_s < IN_TIME_S
    assert process.returncode == 0


def test_only_the_child_itself_can_say_that_it_is_ready(instance: Instance) -> None:
    instance.launch(child("a", "speak_for_another"), ready_s=5.0, restart={"budget": 0})
    status, errors = instance.end()
    assert status == 1
    assert "a was not ready within 5 s" in errors


def test_a_launcher_that_was_stopped_does_not_blame_its_children(instance: Instance) -> None:
    watchdog_s = 1.0
    process = instance.launch(child("a", "behave", watchdog_s=watchdog_s), child("b", "behave", watchdog_s=watchdog_s))
    first = {name: instance.wait_for(name, state="ready").pid for name in ("a", "b")}
    process.send_signal(signal.SIGSTOP)
    time.sleep(3 * watchdog_s)  # the length of the stop is what is tested
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: len(instance.actors()) == 2)
    time.sleep(1.2 * watchdog_s)  # once more, for the blame to show
    assert {name: actor.pid for name, actor in instance.actors().items()} == first


def test_a_second_launcher_is_refused_with_what_to_do(instance: Instance) -> None:
    instance.launch(child("a", "behave"))
    instance.wait_for("a", state="ready")
    second = Instance.__new__(Instance)
    second.addresses, second.process = instance.addresses, None
    second.launch(child("a", "behave"))
    status, errors = second.end()
    assert status == 1
    assert re.fullmatch(r"error: an assistant is already running here \(process \d+ holds .*\); `supervisor stop` ends it, .*\n", errors)
    assert instance.actors()["a"].state == "ready"


def test_a_runtime_directory_with_too_long_a_name_is_refused_in_one_line(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 100)
    directory.mkdir()
    instance = Instance.__new__(Instance)
    instance.addresses, instance.process = Addresses(directory / "r", directory / "s"), None
    instance.launch(child("a", "behave"))
    status, errors = instance.end()
    assert status == 1
    assert re.fullmatch(r"error: the runtime directory .* bytes too long.*EARSHOT_RUNTIME_DIR to a shorter path\n", errors)


def test_stop_returns_when_the_lock_is_free_and_all_are_gone(instance: Instance) -> None:
    instance.launch(child("a", "behave"), child("b", "behave", wave=1), child("c", "behave", base=True))
    pids = [instance.wait_for(name, state="ready").pid for name in ("a", "b", "c")]
    client.stop(instance.addresses)
    assert not any(is_alive(pid) for pid in pids if pid)
    assert instance.end() == (0, "")
    ended = re.findall(r"(\w) \S+ ended", instance.log("launcher"))
    assert ended == ["b", "a", "c"]


def test_a_launcher_tells_its_own_parent_when_it_is_ready_and_that_it_lives(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    from supervisor.notify import NotifySocket

    socket = NotifySocket(f"@earshot-test-{os.getpid()}")
    monkeypatch.setenv("NOTIFY_SOCKET", socket.address)
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    process = instance.launch(child("a", "behave"))
    said: list[dict[str, str]] = []

    def hears(key: str) -> Callable[[], bool]:
        def look() -> bool:
            said.extend(notice.values for notice in socket.receive() if notice.pid == process.pid)
            return any(key in values for values in said)

        return look

    wait_until(hears("READY"))
    wait_until(hears("WATCHDOG"))
    process.send_signal(signal.SIGTERM)
    wait_until(hears("STOPPING"))
    instance.end()
    socket.close()
