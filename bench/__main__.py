"""`python -m bench [--only NAME…] [--model MODEL…] [--speech FOLDER…] [--json FILE] [--markdown]`: measure, and print one table."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from bench.instance import BenchError
from bench.result import Result
from bench.system import is_busy, machine
from bus.errors import EarshotError

BENCHMARKS = (
    "events",
    "audio",
    "stopped",
    "jobs",
    "start",
    "idle",
    "recovery",
    "turns",
    "voice",
    "latency",
    "ahead",
    "models",
    "window",
    "pool",
)
WITH_MODELS = ("models", "pool")
PAGE_WIDTH = 140
"""Of what is not printed on a terminal, columns."""


def main() -> int:
    """Run the chosen benchmarks; return 1 when one could not be measured. A goal that is missed is a figure, not an error."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    about = machine()
    console = Console(stderr=True)
    console.print(" · ".join(f"{name} {value}" for name, value in about.items()), style="dim", highlight=False)
    if is_busy():
        console.print("The machine is busy with something else: these figures are not to be compared with others.", style="yellow")
    results: list[Result] = []
    failures = 0
    for name in options.only:
        with console.status(f"measuring {name}"):
            measure = import_module(f"bench.{name}").measure
            given = (options.model,) if name in WITH_MODELS else (options.model, options.speech) if name == "window" else ()
            try:
                results.extend(measure(*given))  # those before an error stay
            except (BenchError, EarshotError, ValueError) as error:
                console.print(f"{name} could not be measured: {error}", style="red", markup=False)
                failures += 1
    output = Console(highlight=False, width=None if sys.stdout.isatty() else PAGE_WIDTH)
    frame = box.MARKDOWN if options.markdown else box.SIMPLE
    output.print(table(results, frame))
    for parts in parts_tables(results, frame):
        output.print(parts)
    output.print(*(meaning(result) for result in results if result.meaning), sep="\n")
    if options.json:
        found = {"machine": about, "results": [asdict(result) for result in results]}
        options.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what Earshot costs. Takes some twenty minutes.")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS, metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument(
        "--model", action="append", default=[], metavar="MODEL", help="a Whisper model, by name or directory, to measure too"
    )
    parser.add_argument(
        "--speech", nargs="+", type=Path, default=[], metavar="FOLDER", help="for `window`: folders of clips with a transcripts.json"
    )
    parser.add_argument("--markdown", action="store_true", help="draw the tables for a page of the documentation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args()


def table(results: Iterable[Result], frame: box.Box = box.SIMPLE) -> Table:
    """One row a figure."""
    found = Table("Figure", "Value", "Baseline", "Ratio", "Goal", "Met", box=frame)
    for column in found.columns[1:5]:
        column.justify = "right"
        column.no_wrap = True
    for result in results:
        mark = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[result.ok]
        baseline = "" if result.baseline is None else f"{number(result.baseline)} {result.unit}"
        ratio = "" if result.ratio is None else f"{result.ratio:.2f}×"
        found.add_row(result.name, f"{number(result.value)} {result.unit}", baseline, ratio, result.goal, mark)
    return found


def parts_tables(results: Iterable[Result], frame: box.Box = box.SIMPLE) -> Iterator[Table]:
    """What figures are made of: a table for each kind of part, a column for each figure."""
    kinds: dict[str, list[Result]] = {}
    for result in results:
        if result.parts:
            kinds.setdefault(result.parts_of, []).append(result)
    for kind, found in kinds.items():
        parts = Table(
            kind.capitalize(), *(f"{result.name}, {result.unit}" for result in found), box=frame, collapse_padding=True, pad_edge=False
        )
        parts.columns[0].no_wrap = True
        for column in parts.columns[1:]:
            column.justify = "right"
        for name in dict.fromkeys(name for result in found for name in result.parts):
            parts.add_row(name, *(number(result.parts[name]) if name in result.parts else "" for result in found))
        yield parts


def meaning(result: Result) -> str:
    """What a figure tells."""
    return f"[bold]{result.name}[/]: {result.meaning}."


def number(value: float) -> str:
    """Three digits that mean something, and no more."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
