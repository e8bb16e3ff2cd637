"""The unit files, read and judged without running them."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

from bus.settings import LauncherSettings, RehearsalLlmSettings, Settings
from supervisor.children import plan
from supervisor.placement import Placement
from supervisor.systemd.files import STEPS_SINCE, UNITS, Variant, fit, quoted, unit_files
from supervisor.systemd.install import Place, install
from supervisor.systemd.prepare import wanted_by_target
from supervisor.systemd.reach import first_obstacle

ROOT = Path(__file__).parents[2]
EXPOSURE_LIMIT = 2.5
NEEDING_NO_DEVICE = ["broker", "dispatcher", "recorder", "dialogue", "memory", "llm", "metrics", "rehearsal-llm", "tts", "vad", "whisper-1"]
WITH_A_DEVICE = ["mic", "speaker"]
needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="not installed here: systemd-analyze (Debian: apt install systemd)"
)


def rendered(user: bool = False, variant: Variant = "both", version: int = 0, python: str = sys.executable) -> dict[str, str]:
    return unit_files(variant, user=user, python=Path(python), search_path=None, version=version, podman=False)


def values(text: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def seconds(text: str) -> float:
    return float(text.removesuffix("ms")) / 1000 if text.endswith("ms") else float(text)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def written(folder: Path, files: dict[str, str]) -> list[Path]:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)
    return [folder / name for name in files if "/" not in name]


@needs_systemd
def test_systemd_has_nothing_to_say_about_the_files_as_they_lie_here() -> None:
    done = analyze("verify", *UNITS.glob("*.service"), *UNITS.glob("*.target"))
    assert done.stdout + done.stderr == ""


@needs_systemd
@pytest.mark.parametrize("actor", [*NEEDING_NO_DEVICE, *WITH_A_DEVICE])
def test_systemd_has_nothing_to_say_about_an_actors_unit_with_its_additions(actor: str, tmp_path: Path) -> None:
    written(tmp_path, rendered())
    shutil.copy(tmp_path / "earshot@.service", tmp_path / f"earshot@{actor}.service")
    done = analyze("verify", tmp_path / f"earshot@{actor}.service")
    assert done.stdout + done.stderr == ""


@needs_systemd
def test_systemd_has_nothing_to_say_about_the_units_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    done = analyze("--user", "verify", *written(tmp_path, rendered(user=True)))
    assert done.stdout + done.stderr == ""


@needs_systemd
@pytest.mark.parametrize(
    "unit",
    [
        *(f"earshot@{actor}.service" for actor in [*NEEDING_NO_DEVICE, *WITH_A_DEVICE]),
        "earshot.service",
        "earshot-prepare.service",
        "earshot-vllm.service",
    ],
)
def test_no_unit_is_exposed_more_than_it_has_to_be(unit: str, tmp_path: Path) -> None:
    install(Place(user=False, root=tmp_path), "both", lambda line: None, Path("/opt/earshot/bin/python"))
    done = analyze("security", "--offline=yes", f"--root={tmp_path}", "--no-pager", unit)
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert exposure, done.stderr
    assert float(exposure[1]) <= EXPOSURE_LIMIT


def test_the_target_wants_every_actor_that_a_configuration_can_name() -> None:
    settings = Settings(rehearsal_llm=RehearsalLlmSettings(enabled=True))
    workers = Placement(whisper=((0,),) * 8, light=(0,))
    names = {child.name for child in plan(settings, workers, foreground=False)}
    assert names - wanted_by_target() == set()


def test_the_broker_and_the_dispatcher_come_first_and_the_microphone_last() -> None:
    files = rendered()
    everybody = {f"earshot@{name}.service" for name in wanted_by_target()}

    def named(actor: str, key: str) -> set[str]:
        return {
            unit
            for line in values(files[f"earshot@{actor}.service.d/10-{'device' if actor == 'mic' else 'order'}.conf"], key)
            for unit in line.split()
        }

    broker, dispatcher, mic = (f"earshot@{name}.service" for name in ("broker", "dispatcher", "mic"))
    assert named("broker", "Before") == everybody - {broker}
    assert named("dispatcher", "Before") == everybody - {broker, dispatcher}
    assert named("mic", "After") == everybody - {mic} | {"sound.target"}


@pytest.mark.parametrize(("unit", "life_s"), [("earshot@.service", 20.0), ("earshot.service", 100.0), ("earshot-vllm.service", 140.0)])
@pytest.mark.parametrize("version", [252, STEPS_SINCE])
def test_a_start_limit_is_reached_by_a_program_that_lives_no_longer_than_this(unit: str, life_s: float, version: int) -> None:
    files = rendered(version=version)
    text = files[unit] + files.get(unit + ".d/50-restart-steps.conf", "")
    burst, interval_s = int(values(text, "StartLimitBurst")[0]), float(values(text, "StartLimitIntervalSec")[0])
    first_s = seconds(values(text, "RestartSec")[0])
    steps, longest_s = int((values(text, "RestartSteps") or ["0"])[0]), float((values(text, "RestartMaxDelaySec") or ["0"])[0])
    delays_s = [min(longest_s, first_s * (longest_s / first_s) ** (turn / steps)) if steps else first_s for turn in range(burst)]
    assert burst * life_s + sum(delays_s) < interval_s


def test_the_delay_of_a_restart_grows_only_where_systemd_knows_how() -> None:
    assert "earshot@.service.d/50-restart-steps.conf" not in rendered(version=STEPS_SINCE - 1)
    assert "RestartSteps=5" in rendered(version=STEPS_SINCE)["earshot@.service.d/50-restart-steps.conf"]


def test_a_unit_waits_longer_for_the_stop_than_the_launcher_takes_for_it() -> None:
    assert float(values(rendered()["earshot.service"], "TimeoutStopSec")[0]) > LauncherSettings().stop_timeout_s + 1


def test_a_user_gets_no_setting_that_needs_a_privilege() -> None:
    for name, text in rendered(user=True).items():
        assert not re.search(r"^(User|Group|SupplementaryGroups|Protect\w+|Private\w+|IPAddress\w+|StateDirectory)=", text, re.MULTILINE), (
            name
        )
        assert "multi-user.target" not in text
    assert "WantedBy=default.target" in rendered(user=True)["earshot.service"]


def test_one_of_the_two_ways_can_be_installed_alone() -> None:
    assert [name for name in rendered(variant="service") if name.startswith("earshot@")] == []
    assert "earshot.service" not in rendered(variant="target")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/opt/earshot/bin/python", "ExecStart=/opt/earshot/bin/python -P -m actors %i"),
        ("/opt/my venv/python", 'ExecStart="/opt/my venv/python" -P -m actors %i'),
        ("/opt/100%/python", "ExecStart=/opt/100%%/python -P -m actors %i"),
    ],
)
def test_the_interpreter_is_named_as_unit_files_write_it(path: str, line: str) -> None:
    assert line in rendered(python=path)["earshot@.service"].splitlines()


def test_the_packages_of_a_checkout_are_named_where_the_interpreter_does_not_find_them() -> None:
    text = fit((UNITS / "earshot@.service").read_text(), user=False, python=Path("/usr/bin/python3"), search_path=Path("/srv/ear shot"))
    assert values(text, "Environment")[-1] == quoted("PYTHONPATH=/srv/ear shot") == '"PYTHONPATH=/srv/ear shot"'


def test_every_file_here_is_part_of_the_package() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["supervisor.systemd.units"]
    files = [path.relative_to(UNITS).as_posix() for path in UNITS.rglob("*") if path.is_file() and path.suffix != ".md"]
    assert [name for name in files if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)] == []


def test_what_keeps_another_user_from_the_interpreter_is_told() -> None:
    with tempfile.TemporaryDirectory(prefix="earshot-") as directory:
        Path(directory).chmod(0o755)
        closed = Path(directory) / "closed"
        (closed / "bin").mkdir(parents=True)
        (closed / "bin" / "python").write_text("")
        link = Path(directory) / "python"
        link.symlink_to(closed / "bin" / "python")
        closed.chmod(0o755)
        (closed / "bin" / "python").chmod(0o755)
        assert first_obstacle([link]) == ""
        closed.chmod(0o700)
        assert first_obstacle([link]) == f"{closed} is closed to other users (mode 0700)"


def test_a_home_directory_is_not_for_a_service() -> None:
    assert "ProtectHome=" in first_obstacle([Path("/root")])
