"""Looking into the memory store, and forgetting. Works whether or not the assistant is running."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import click
import msgspec

from actors.memory.store import Store, StoreDamaged, database_path, open_to_read
from bus.addresses import Addresses
from bus.errors import EarshotError
from bus.flight import forget_flight
from bus.messages.turn import TurnRecord
from bus.parked import drop_parked
from bus.settings import Settings, load_resolved
from bus.sqlite import fault_of, set_aside_files
from bus.timings import TOTAL

NS_PER_S = 1_000_000_000
LATEST_NS = 2**63 - 1  # the largest number that SQLite takes
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def point_in_time(text: str) -> int:
    """Wall-clock nanoseconds of `10m` (ago), a date with or without a time of day, or the nanoseconds themselves."""
    ago = re.fullmatch(r"(\d+)([smhdw])", text)
    if ago:
        return max(0, time.time_ns() - int(ago[1]) * UNITS_S[ago[2]] * NS_PER_S)
    if re.fullmatch(r"\d{15,}", text):
        return min(int(text), LATEST_NS)
    try:
        return round(datetime.fromisoformat(text).timestamp() * NS_PER_S)
    except (ValueError, OverflowError):
        examples = "10m, 2h or 3d (ago), 2030-01-31, '2030-01-31 18:00', or nanoseconds since 1970"
        raise click.BadParameter(f"{text!r} is no time; write {examples}") from None


AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object per turn and line.")


@click.group()
def main() -> None:
    """What was said: show, search, export and forget turns."""


@main.command("list")
@click.option("--last", default=20, show_default=True, type=click.IntRange(1), help="How many turns.")
@click.option("--stream", default="", help="Only this conversation.")
@click.option("--turn", default="", help="Only this turn.")
@AS_JSON
def list_turns(last: int, stream: str, turn: str, as_json: bool) -> None:
    """Show the last turns."""
    with _reading() as store:
        _show(store.newest(last, stream, turn), as_json)


@main.command()
@click.argument("text")
@click.option("--last", default=20, show_default=True, type=click.IntRange(1), help="How many turns at most.")
@AS_JSON
def search(text: str, last: int, as_json: bool) -> None:
    """Show the last turns with all the words of TEXT, which may be beginnings of words."""
    with _reading() as store:
        _show(store.search(text, last), as_json)


@main.command()
@click.option("--stream", default="", help="Only this conversation.")
@click.option("--since", type=point_in_time, metavar="TIME", help="Only turns since then: 10m, 2h, 3d (ago), a date, or nanoseconds.")
@click.option("--turns", "prefix", default="", hidden=True, help="Only turns whose name begins so.")
@click.option("--after", type=int, default=0, hidden=True, help="Only turns that were kept after this one; see `mark`.")
@click.option("--json", "_as_json", is_flag=True, help="JSON lines: the only format, so this changes nothing.")
def export(*, stream: str, since: int | None, prefix: str, after: int, _as_json: bool) -> None:
    """Write the turns to standard output, one JSON object per line, in the order in which they were over."""
    with _reading() as store:
        _write_json(store.export(stream, since, prefix=prefix, after=after))


@main.command(hidden=True)
def mark() -> None:
    """Print a number that names this moment, for `export --after`: no clock, so a clock that is set meanwhile changes nothing."""
    path = _path()
    if not path.exists():
        click.echo(0)
        return
    with _reading() as store:
        click.echo(store.newest_number())


@main.command()
@click.option("--turn", help="This turn.")
@click.option("--stream", help="All turns of this conversation.")
@click.option("--before", type=point_in_time, metavar="TIME", help="All turns before then: 10m, 2h, 3d (ago), a date, or nanoseconds.")
@click.option("--all", "everything", is_flag=True, help="All turns.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(turn: str | None, stream: str | None, before: int | None, everything: bool, yes: bool) -> None:
    """Forget turns for good: they are overwritten in the file, its index and its log."""
    chosen = [choice for choice in (turn, stream, before, everything or None) if choice is not None]
    if len(chosen) != 1:
        raise click.UsageError("say what to forget: one of --turn, --stream, --before, --all")
    with _store() as store:
        if everything and not yes:
            _confirm("Forget everything that was said?")
        known = {record.turn for record in store.export()}
        if turn is not None:
            count = store.forget_turn(turn)
        elif stream is not None:
            count = store.forget_stream(stream)
        elif before is not None:
            count = store.forget_before(before)
        else:
            count = store.forget_all()
            for damaged in set_aside_files(store.path):
                damaged.unlink(missing_ok=True)
        # The sound of a turn that was given up is still among the parked jobs.
        forgotten = known - {record.turn for record in store.export()}
        drop_parked(_instance()[1].spool, lambda stored: everything or stored.job.turn in forgotten, set_aside=everything)
        forget_flight(_instance()[1])  # whole: it is short, and what was said is in many places of it
    click.echo(f"Forgot {count} turn{'' if count == 1 else 's'}.")


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("there is nobody to ask; add --yes")
    click.confirm(question, abort=True)


@contextmanager
def _store() -> Iterator[Store]:
    """The store of this instance, to change it; every error is told in one line."""
    with _errors_told(), closing(Store(_existing(), create=False)) as store:
        yield store


@contextmanager
def _reading() -> Iterator[Store]:
    """The store of this instance, to look into it; every error is told in one line."""
    with _errors_told(), open_to_read(_existing()) as store:
        yield store


@contextmanager
def _errors_told() -> Iterator[None]:
    try:
        yield
    except StoreDamaged as error:
        raise click.ClickException(f"{error}; `supervisor start`, or `supervisor restart memory`, mends it") from None
    except sqlite3.Error as error:
        fault = fault_of(error, _path())
        advice = "; `supervisor restart memory` mends it" if fault.damaged else ""
        raise click.ClickException(f"cannot use {_path()}: {fault.text}{advice}") from None
    except EarshotError as error:
        raise click.ClickException(str(error)) from None


def _instance() -> tuple[Settings, Addresses]:
    """The settings of this instance, or the defaults where it never ran, and where it lives."""
    config = os.environ.get("EARSHOT_CONFIG") or Addresses.resolve().config
    settings = load_resolved(config) if Path(config).exists() else Settings()
    return settings, Addresses.resolve(settings.instance.runtime_dir, settings.instance.state_dir)


def _path() -> Path:
    settings, addresses = _instance()
    return database_path(settings.memory, addresses)


def _existing() -> Path:
    path = _path()
    if not path.exists():
        raise EarshotError(f"nothing is remembered yet: there is no {path}; EARSHOT_STATE_DIR names another state directory")
    return path


def _show(records: list[TurnRecord], as_json: bool) -> None:
    if as_json:
        _write_json(records)
    elif not records:
        click.echo("No turns.")
    else:
        _print_table(records)


def _write_json(records: Iterable[TurnRecord]) -> None:
    for record in records:
        click.echo(msgspec.json.encode(record))


def _print_table(records: list[TurnRecord]) -> None:
    from rich.console import Console  # here, because only a table needs them
    from rich.table import Table
    from rich.text import Text

    table = Table("When", "Stream", "State", "User", "AI", "Time", box=None, header_style="bold")
    table.columns[-1].justify = "right"
    for record in records:
        when = datetime.fromtimestamp(record.wall_ns / NS_PER_S).strftime("%Y-%m-%d %H:%M:%S")
        seconds = f"{record.timings_ms[TOTAL] / 1000:.1f} s" if TOTAL in record.timings_ms else ""
        cells = (when, record.stream, record.state, record.transcript, record.reply, seconds)
        table.add_row(*(Text(cell) for cell in cells))  # Text: what was said is not markup
    Console().print(table)
