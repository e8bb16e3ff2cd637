"""`supervisor status`: everybody's state, as a table or as JSON lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from bus.losses import MEANINGS
from bus.messages.control import ActorInfo, ControlState

if TYPE_CHECKING:
    from rich.console import Group

WIDTH_ELSEWHERE: Final = 140
_COLOURS: Final = {"ready": "green", "failed": "red", "stopped": "dim"}


def json_line(actor: ActorInfo) -> str:
    """One actor as one line of JSON."""
    return msgspec.json.encode(actor).decode()


def watch(ask: Callable[[], ControlState], interval_s: float) -> None:
    """Show the table, and keep it up to date until Ctrl+C; on anything but a terminal print it again and again."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not console.is_terminal:
        while True:
            show(ask())
            time.sleep(interval_s)
    with Live(picture(ask()), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval_s)
            live.update(picture(ask()), refresh=True)


def show(state: ControlState) -> None:
    """Print the table."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_ELSEWHERE
    console.print(picture(state), soft_wrap=True)


def picture(state: ControlState) -> Group:
    """The table, and below it what is wrong and what was lost."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("Actor", "State", "PID", "Up", "Restarts", "Phase", "CPUs", "Memory", "Last exit", box=box.SIMPLE)
    for actor in state.actors:
        table.add_row(
            actor.actor,
            Text(actor.state, _COLOURS.get(actor.state, "yellow")),
            str(actor.pid or "–"),
            duration(actor.up_s) if actor.pid else "–",
            str(actor.restarts),
            actor.phase or "–",
            actor.cpus or "any",
            f"{actor.rss_bytes / 1e6:.0f} MB" if actor.pid else "–",
            actor.last_exit or "–",
        )
    for column in table.columns:
        column.no_wrap = True
    below = [Text(f"  {actor.actor}: {actor.detail}") for actor in state.actors if actor.detail]
    losses = [Text(f"  {line}") for line in loss_lines(state)]
    if losses:
        below += [Text("\n  Lost or set aside", "yellow"), *losses]
    return Group(table, *below)


def loss_lines(state: ControlState) -> Iterator[str]:
    """One line for each actor and cause: how much, and what that means."""
    by_actor = {actor.actor: actor.losses for actor in state.actors} | {"launcher": state.losses}
    for actor, losses in by_actor.items():
        for cause, number in sorted(losses.items()):
            amount = f"{number / 1000:.2f} s" if cause.endswith("-ms") else str(number)
            meaning = MEANINGS.get(cause, "")
            yield f"{actor}: {cause.removesuffix('-ms')} {amount}{f' ({meaning})' if meaning else ''}"


def duration(seconds: float) -> str:
    """`12 s`, `3 min`, `5 h`, `2 d`: as much as one wants to know."""
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"
