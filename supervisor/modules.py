"""How this package starts Python modules of the project as programs: never by importing them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent


def command(module: str, *arguments: str) -> tuple[str, ...]:
    """The command line for a module. With -P, so that a `bus.py` in the user's working directory is not taken for ours."""
    return (sys.executable, "-P", "-m", module, *arguments)


def environ(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment in which a module is found, in a checkout that is not installed too."""
    found = dict(given)
    if (ROOT / "pyproject.toml").exists():
        found["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), given.get("PYTHONPATH"))))
    return found
