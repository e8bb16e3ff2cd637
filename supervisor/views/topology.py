"""`supervisor topology`: the machine's cores, and who runs where."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from supervisor.placement import Placement, to_json
from supervisor.topology import Topology


def show(topology: Topology, placement: Placement) -> None:
    """Print the table, then the notes."""
    console = Console()
    plan = to_json(topology, placement)
    table = Table("CPU", "Kind", "L3", "Clock", "Runs", box=box.SIMPLE)
    for cpu in plan["cpus"]:
        table.add_row(str(cpu["id"]), cpu["kind_name"] or cpu["kind"] or "–", _l3(cpu), _clock(cpu), cpu["use"])
    console.print(table)
    for note in placement.notes:
        console.print(note, markup=False)


def _l3(cpu: dict[str, Any]) -> str:
    return f"{cpu['l3_bytes'] / (1 << 20):.0f} MB" if cpu["l3_bytes"] else "–"


def _clock(cpu: dict[str, Any]) -> str:
    return f"{cpu['max_khz'] / 1e6:.2f} GHz" if cpu["max_khz"] else "–"
