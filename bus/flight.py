"""Where the flight recorder's files are, and how they are forgotten. Without the libraries that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bus.addresses import Addresses

FLIGHT_GLOB: Final = "flight-*.mcap"


def flight_files(directory: Path) -> list[Path]:
    """The files of the flight recorder, oldest first."""
    return sorted(directory.glob(FLIGHT_GLOB))


def forget_flight(addresses: Addresses) -> None:
    """Overwrite and remove what the flight recorder has kept, and what crashes have kept of it: what was said is in it.

    A running recorder begins a new file. Raise OSError when a file cannot be removed.
    """
    kept = [path for name in ("bus.mcap", "job.msgpack", "payload.raw") for path in addresses.crashes_dir.glob(f"*/{name}")]
    for path in [*flight_files(addresses.flight_dir), *kept]:
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
        path.unlink(missing_ok=True)
