"""Where the flight recorder's files are, and how they are forgotten. Without the libraries that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bus.addresses import Addresses
from bus.replays import forget_dead_replays, wipe

FLIGHT_GLOB: Final = "flight-*.mcap"


def flight_files(directory: Path) -> list[Path]:
    """The files of the flight recorder, oldest first."""
    return sorted(directory.glob(FLIGHT_GLOB))


def forget_flight(addresses: Addresses) -> None:
    """Overwrite and remove what the flight recorder has kept, what crashes have kept of it, and what killed replays have left.

    A running recorder begins a new file. Raise OSError when a file cannot be removed.
    """
    kept = [path for name in ("bus.mcap", "job.msgpack", "payload.raw") for path in addresses.crashes_dir.glob(f"*/{name}")]
    for path in [*flight_files(addresses.flight_dir), *kept]:
        wipe(path)
    forget_dead_replays(addresses.state_dir)
