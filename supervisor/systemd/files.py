"""The unit files, and how they are fitted to a machine. Pure but for the reading of the files of this package.

They are written for the system manager and an interpreter at /opt/earshot. The user variant is the part above a marker line:
what stands below it needs a privilege or names what a user manager does not have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from supervisor.modules import ROOT

UNITS: Final = ROOT / "systemd" if (ROOT / "pyproject.toml").exists() else Path(__file__).parent / "units"
"""The folder with the unit files: in a checkout at its top, else in this package."""
ONLY_SYSTEM: Final = "# ---- Only for the system manager ----\n"
PYTHON: Final = "/usr/bin/env /opt/earshot/bin/python"
"""How the files name the interpreter. Through `env`, so that they can be verified where nothing is installed."""
STEPS_SINCE: Final = 254
"""The version of systemd that brought RestartSteps=."""
Variant = Literal["service", "target", "both"]

LAUNCHER: Final = ("earshot.service",)
ACTORS: Final = ("earshot.target", "earshot-prepare.service", "earshot@.service")
MODEL: Final = ("earshot-vllm.service",)


def text_of(path: Path) -> str:
    """A file of ours. Raises OSError."""
    return path.read_text()


def unit_files(variant: Variant, *, user: bool, python: Path, search_path: Path | None, version: int, podman: bool) -> dict[str, str]:
    """The unit files by their place below the folder of units.

    `python` is the interpreter that runs the actors; `search_path` the folder of our packages where it does not find them by
    itself; `version` that of systemd, 0 for unknown; `podman` whether that runs the language model's container.
    """
    names = (LAUNCHER if variant != "target" else ()) + (ACTORS if variant != "service" else ()) + MODEL
    found = {name: text_of(UNITS / name) for name in names}
    if podman:
        found["earshot-vllm.service.d/10-podman.conf"] = text_of(UNITS / "podman.conf")
    if variant != "service":
        for path in sorted(UNITS.glob("earshot@*.service.d/*.conf")):
            found[path.relative_to(UNITS).as_posix()] = text_of(path)
        if version >= STEPS_SINCE:
            found["earshot@.service.d/50-restart-steps.conf"] = text_of(UNITS / "restart-steps.conf")
    fitted = {name: fit(text, user=user, python=python, search_path=search_path) for name, text in found.items()}
    return {name: text for name, text in fitted.items() if "=" in _directives(text)}


def fit(text: str, *, user: bool, python: Path, search_path: Path | None) -> str:
    """One unit file, for this interpreter and this manager."""
    if user:
        text = text.partition(ONLY_SYSTEM)[0].replace("WantedBy=multi-user.target", "WantedBy=default.target")
    line = f"ExecStart={PYTHON}"
    if search_path is not None:
        text = text.replace(line, f"Environment={quoted(f'PYTHONPATH={search_path}')}\n{line}")
    return text.replace(line, f"ExecStart={quoted(str(python))}").rstrip("\n") + "\n"


def quoted(text: str) -> str:
    """A word as unit files write it: percent signs are doubled, and quotes stand around one with spaces or quotes."""
    text = text.replace("%", "%%")
    if any(mark in text for mark in " \t\"'\\$;"):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
        return f'"{escaped}"'
    return text


def _directives(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith(("#", ";")))
