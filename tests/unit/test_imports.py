"""Who may import whom, and what an actor does not pay for."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {"bus": {"bus"}, "actors": {"actors", "bus"}, "supervisor": {"supervisor", "bus"}}
OURS = set(MAY_IMPORT)
MODEL_LIBRARIES = {"faster_whisper", "ctranslate2", "onnxruntime", "webrtcvad", "sounddevice", "espeakng_loader"}
HEAVY = {"numpy", "structlog", "requests", "rich", "asyncio", "sqlite3", *MODEL_LIBRARIES}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("package", sorted(OURS))
def test_a_package_imports_only_those_below_it(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        ours = {name.partition(".")[0] for name in imports(path)} & OURS
        assert ours <= MAY_IMPORT[package], f"{path.relative_to(ROOT)} imports {ours - MAY_IMPORT[package]}"


def test_model_libraries_are_imported_by_the_engine_files_of_their_actor_alone() -> None:
    where = {
        path.relative_to(ROOT).as_posix(): found
        for package in OURS
        for path in (ROOT / package).rglob("*.py")
        if (found := {name.partition(".")[0] for name in imports(path)} & MODEL_LIBRARIES)
    }
    assert where == {
        "actors/whisper/engine.py": {"faster_whisper"},
        "actors/vad/silero.py": {"onnxruntime"},
        "actors/vad/smart_turn.py": {"onnxruntime"},
        "actors/vad/webrtc.py": {"webrtcvad"},
        "actors/mic/device.py": {"sounddevice"},
        "actors/tts/espeak.py": {"espeakng_loader"},
    }


@pytest.mark.parametrize(
    ("module", "pays_for"),
    [
        ("actors.__main__, actors.actor, bus.broker", set()),
        ("actors.__main__, actors.actor, actors.dialogue.actor", set()),
        ("actors.__main__, actors.actor, actors.mic.actor", set()),
        ("actors.__main__, actors.actor, actors.vad.actor", set()),
        ("actors.__main__, actors.actor, actors.tts.actor", set()),
        ("actors.__main__, actors.actor, actors.speaker.actor, actors.speaker.device", set()),
        ("actors.__main__, actors.actor, bus.dispatcher, bus.spool", {"sqlite3"}),
        ("supervisor.launcher", set()),
    ],
)
def test_a_process_imports_only_what_it_uses(module: str, pays_for: set[str]) -> None:
    program = f"import sys\nimport {module}\nprint(*sorted({HEAVY!r} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(out.split()) == pays_for


@pytest.mark.parametrize(
    "program",
    [
        "from actors.vad.silero import SileroEngine; SileroEngine(0.5)",
        "from actors.whisper.engine import get_vad_model; get_vad_model()",
    ],
)
def test_the_model_libraries_keep_no_identity_of_this_machine(program: str, tmp_path: Path) -> None:
    """onnxruntime writes an id and a queue of reports below the home directory, and sends them, unless it is told not to."""
    environ = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env={**environ, "HOME": str(tmp_path)}, check=True)
    assert [str(path) for path in tmp_path.rglob("*") if path.is_file()] == []


def test_no_module_is_part_of_a_circle() -> None:
    graph = {_module(path): _module_level_imports(path) for package in OURS for path in (ROOT / package).rglob("*.py")}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, f"circle: {' -> '.join([*above[above.index(module) :], module])}"
        if module in done:
            return
        for needed in sorted(graph.get(module, ())):
            visit(needed, (*above, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _module_level_imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in OURS:
            found |= {f"{node.module}.{name.name}" if _is_module(f"{node.module}.{name.name}") else node.module for name in node.names}
    return found


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()
