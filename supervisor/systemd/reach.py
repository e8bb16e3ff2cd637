"""Whether another user can run an interpreter: every folder on the way to it, and to what it imports."""

from __future__ import annotations

import site
import stat
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from supervisor.modules import ROOT

HIDDEN: Final = ("/home", "/root", "/run/user")
"""What ProtectHome=yes in the units keeps out of sight."""


def unreachable(python: Path) -> str:
    """Why a service of another user cannot run `python` with our packages; empty when it can."""
    if python != Path(sys.executable):
        return first_obstacle([python])
    libraries = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return first_obstacle([python, *map(Path, sorted(libraries)), *map(Path, site.getsitepackages()), ROOT / "bus", ROOT / "actors"])


def first_obstacle(paths: list[Path]) -> str:
    """What keeps other users from the first of the paths that they cannot reach; empty when they reach all that exist."""
    return next((obstacle for path in paths if path.exists() for step in _way(path) if (obstacle := _obstacle(step))), "")


def _way(path: Path) -> Iterator[Path]:
    """Each file and folder on the way: of the path itself, and of what it is a link to."""
    path = path.absolute()  # and not resolved: the way to a link counts too
    yield from reversed(path.parents)
    yield path
    if path.is_symlink():
        yield from _way(path.parent / path.readlink())


def _obstacle(path: Path) -> str:
    if any(path == Path(hidden) or path.is_relative_to(hidden) for hidden in HIDDEN):
        return f"{path} is in a home directory, which the units do not see (ProtectHome=)"
    mode = path.stat().st_mode
    needed = stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
    if not mode & needed:
        return f"{path} is closed to other users (mode {stat.S_IMODE(mode):04o})"
    return ""
