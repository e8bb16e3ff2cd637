"""`supervisor parked list` as a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bus.spool import Stored
from supervisor.parked import words_of


def show(parked: Sequence[Stored], *, words: bool) -> None:
    """Print the given-up jobs, oldest first."""
    console = Console()
    if not parked:
        console.print("Nothing was given up.")
        return
    table = Table("Job", "Given up", "Tries", "Why", *(["Words"] if words else []), box=None, header_style="bold")
    table.columns[0].no_wrap = True  # it is typed after `retry`
    for stored in parked:
        since = datetime.fromtimestamp((stored.parked_ns or 0) / 1e9).strftime("%m-%d %H:%M")
        cells = [stored.job.id, since, str(stored.attempts), stored.reason]
        table.add_row(*(Text(cell) for cell in [*cells, *([words_of(stored)] if words else [])]))
    console.print(table)
