"""What the units need before they start, and what systemd's answers mean."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bus.addresses import Addresses
from bus.errors import InstanceRunning, SetupError
from bus.settings import Settings, load_resolved
from supervisor.children import plan
from supervisor.instance import is_running, take
from supervisor.placement import plan_for
from supervisor.settings import load
from supervisor.systemd.manager import info
from supervisor.systemd.prepare import environment_file, prepare
from supervisor.topology import Topology

TOPOLOGIES = Path(__file__).parents[2] / "data" / "topologies"
RUNNING = {
    "ActiveState": "active", "SubState": "running", "MainPID": "1", "InvocationID": "0a1b2c3d4e5f", "NRestarts": "2",
    "ExecMainStartTimestampMonotonic": "5000000", "StatusText": "talking to mistral-7b", "Result": "success",
    "ExecMainCode": "0", "ExecMainStatus": "0",
}  # fmt: skip


def settings_in(folder: Path, *sets: str) -> Settings:
    environ = {"EARSHOT_RUNTIME_DIR": str(folder / "run"), "EARSHOT_STATE_DIR": str(folder / "state")}
    return load((), sets, environ)


def addresses_in(folder: Path) -> Addresses:
    return Addresses(folder / "run", folder / "state")


def test_the_workers_of_a_dgx_spark_get_its_big_cores_and_as_many_threads() -> None:
    topology = msgspec.json.decode((TOPOLOGIES / "dgx-spark-gb10.json").read_bytes(), type=Topology)
    children = {
        child.name: environment_file(child, "ab12") for child in plan(Settings(), plan_for(topology, Settings().whisper), foreground=False)
    }
    assert children["whisper-1"] == "EARSHOT_LAUNCH=ab12\nEARSHOT_CPUS=15-19\nOMP_NUM_THREADS=5\n"
    assert children["whisper-2"] == "EARSHOT_LAUNCH=ab12\nEARSHOT_CPUS=5-9\nOMP_NUM_THREADS=5\n"
    assert children["mic"] == children["broker"] == "EARSHOT_LAUNCH=ab12\nEARSHOT_CPUS=0-4,10-14\n"


def test_preparing_leaves_the_configuration_and_a_file_for_each_wanted_actor(tmp_path: Path) -> None:
    assert prepare(settings_in(tmp_path, "mic.source=none", "whisper.workers=2")) == []
    names = {path.stem for path in (tmp_path / "run" / "actors").iterdir()}
    assert names == {"broker", "dispatcher", "recorder", "memory", "dialogue", "llm", "vad", "speaker", "tts", "whisper-1", "whisper-2"}
    assert load_resolved(tmp_path / "run" / "config.json").whisper.workers == 2
    assert is_running(addresses_in(tmp_path))


def test_preparing_again_forgets_actors_that_are_no_longer_wanted(tmp_path: Path) -> None:
    prepare(settings_in(tmp_path, "whisper.workers=3"))
    prepare(settings_in(tmp_path, "whisper.workers=1", "mic.source=none"))
    names = {path.stem for path in (tmp_path / "run" / "actors").iterdir()}
    assert {"whisper-2", "whisper-3", "mic"}.isdisjoint(names)


def test_no_launcher_starts_where_systemd_runs_the_actors(tmp_path: Path) -> None:
    prepare(settings_in(tmp_path))
    with pytest.raises(InstanceRunning, match="systemd runs an assistant"):
        take(addresses_in(tmp_path))


def test_systemd_does_not_start_the_actors_where_a_launcher_lives(tmp_path: Path) -> None:
    lock = take(addresses_in(tmp_path))
    with pytest.raises(InstanceRunning, match="already running"):
        prepare(settings_in(tmp_path))
    assert not (tmp_path / "run" / "actors").exists()
    lock.release()


def test_more_workers_than_the_target_knows_are_told_with_what_to_do(tmp_path: Path) -> None:
    (note,) = prepare(settings_in(tmp_path, "whisper.workers=9"))
    assert "systemctl add-wants earshot.target earshot@whisper-9.service" in note


@pytest.mark.parametrize("changed", [["mic.source=stdin"], ["mic.source=file", f"mic.file={__file__}", "launcher.until=source-ends"]])
def test_what_only_a_launcher_can_do_is_refused(tmp_path: Path, changed: list[str]) -> None:
    with pytest.raises(SetupError, match="needs a"):
        prepare(settings_in(tmp_path, *changed))
    assert not is_running(addresses_in(tmp_path))


def test_a_running_unit_is_a_ready_actor() -> None:
    found = info("llm", RUNNING, now_s=65.0, launch="ab12")
    assert (found.state, found.pid, found.restarts, found.up_s) == ("ready", 1, 2, 60.0)
    assert found.incarnation == "ab12.0a1b2c3d"
    assert found.detail == "talking to mistral-7b"


@pytest.mark.parametrize(
    ("active", "sub", "state"),
    [
        ("activating", "start", "starting"),
        ("activating", "auto-restart", "backing-off"),
        ("deactivating", "stop-sigterm", "stopping"),
        ("deactivating", "final-watchdog", "stopping"),
        ("inactive", "dead", "stopped"),
        ("failed", "failed", "failed"),
    ],
)
def test_a_state_of_systemd_is_told_in_the_launchers_words(active: str, sub: str, state: str) -> None:
    assert info("llm", {**RUNNING, "ActiveState": active, "SubState": sub}, 0.0, "ab12").state == state


def test_a_failed_unit_tells_how_it_ended_and_where_to_look() -> None:
    failed = {
        **RUNNING,
        "ActiveState": "failed",
        "MainPID": "0",
        "NRestarts": "10",
        "StatusText": "",
        "ExecMainCode": "2",
        "ExecMainStatus": "6",
    }
    found = info("vad", failed, 0.0, "ab12")
    assert found.last_exit == "signal SIGABRT"
    assert found.detail == "given up after 10 restarts; ended with signal SIGABRT; see `journalctl -u earshot@vad.service`"


def test_a_misconfigured_actor_is_told_in_its_own_words() -> None:
    failed = {
        **RUNNING,
        "ActiveState": "failed",
        "MainPID": "0",
        "NRestarts": "1",
        "StatusText": "no model",
        "ExecMainCode": "1",
        "ExecMainStatus": "78",
    }
    assert info("whisper-1", failed, 0.0, "ab12").detail == "no model; see `journalctl -u earshot@whisper-1.service`"
