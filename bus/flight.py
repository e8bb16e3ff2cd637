"""Where the flight recorder's files are, and how they are forgotten. Without the libraries that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

FLIGHT_GLOB: Final = "flight-*.mcap"


def flight_files(directory: Path) -> list[Path]:
    """The files of the flight recorder, oldest first."""
    return sorted(directory.glob(FLIGHT_GLOB))


def forget_flight(directory: Path) -> None:
    """Overwrite and remove what the flight recorder has kept: what was said is in it. A running one begins a new file.

    Raise OSError when a file cannot be removed.
    """
    for path in flight_files(directory):
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
        path.unlink(missing_ok=True)
