"""Where the time of each turn went, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bus.addresses import Addresses
from bus.messages.turn import TurnRecord
from bus.timings import TOTAL, TOTAL_TO_FIRST_TOKEN
from supervisor.remembered import remembered

GROUPS = (
    ("Endpoint", ("endpoint_wait",)),
    ("Transcribe", ("submit", "stt_queue", "transcribe")),
    ("Turn", ("turn_wait", "turn_logic", "recall_wait", "recall")),
    ("Answer", ("llm_queue", "first_token")),
)

NUMBERS_WIDTH = 58
"""Of all columns but the words."""


def show_after(addresses: Addresses, number: int) -> None:
    """Print the table of the turns that were remembered after the one of that number (`remembered.newest_number`)."""
    console = Console()
    console.print(table(remembered(addresses, after=number), max(10, console.width - NUMBERS_WIDTH)))


def table(records: Sequence[TurnRecord], user_width: int = 40) -> Table:
    """One row a turn: what was asked, and the parts of the wait in seconds. They add up to `Wait`."""
    found = Table(
        "#",
        "User",
        *(name for name, _ in GROUPS),
        "Wait",
        "In all",
        box=box.SIMPLE,
        collapse_padding=True,
        pad_edge=False,
        title="Seconds from the end of speech",
    )
    for column in found.columns:
        column.no_wrap = True
        column.justify = "right"
    found.columns[1].justify = "left"
    for number, record in enumerate(records, 1):
        times = record.timings_ms
        parts = [_seconds(sum(times.get(part, 0.0) for part in parts)) for _, parts in GROUPS]
        ends = [_seconds(times.get(name)) for name in (TOTAL_TO_FIRST_TOKEN, TOTAL)]
        found.add_row(str(number), Text(_short(record.transcript or "–", user_width)), *parts, *ends)  # Text: it is not markup
    waits = [record.timings_ms[TOTAL_TO_FIRST_TOKEN] for record in records if TOTAL_TO_FIRST_TOKEN in record.timings_ms]
    found.caption = _caption(len(records), waits)
    return found


def _caption(count: int, waits_ms: Iterable[float]) -> str:
    waits = sorted(waits_ms)
    if not waits:
        return f"{count} turns"
    middle, longest = _seconds(waits[len(waits) // 2]), _seconds(waits[-1])
    return f"{count} turns; the first word came after {middle} s (median), {longest} s at most"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _seconds(milliseconds: float | None) -> str:
    return "–" if milliseconds is None else f"{milliseconds / 1000:.2f}"
