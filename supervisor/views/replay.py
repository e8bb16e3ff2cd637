"""What a replay found, as a table or as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from supervisor.replay import Replayed
from supervisor.takes import COMPARED_PARTS, Difference, Utterance, latency_ms

OF_ENGINES = {"transcribe", "first token"}
SHOWN_TIMES = {"transcribe", "first token", "wait"}
"""In the table; the medians of all parts stand below it."""
FIXED_WIDTH = 30
TIME_WIDTH = 14


def json_lines(replayed: Sequence[Replayed]) -> list[str]:
    """One object for each stretch of speech; docs/observing.md tells the keys."""
    return [
        json.dumps(
            {
                "stream": one.take.stream,
                "first_sample": _first_sample(difference),
                "differs": list(difference.stages),
                "earlier_messages": difference.earlier_rounds,
                "before": _fields(difference.before),
                "after": _fields(difference.after),
            },
            ensure_ascii=False,
        )
        for one in replayed
        for difference in one.differences
    ]


def show(replayed: Sequence[Replayed], pace: str) -> None:
    """Print the comparison. At another pace than that of speech only the times of the engines mean something."""
    console = Console()
    parts = {name: parts for name, parts in COMPARED_PARTS.items() if pace == "real" or name in OF_ENGINES}
    for one in replayed:
        console.print(_table(one, parts, max(10, console.width - FIXED_WIDTH - TIME_WIDTH * len(SHOWN_TIMES & set(parts)))))
        for number, difference in enumerate(one.differences, 1):
            for before, after in difference.words:
                console.print(Text(f"  {number}: heard {after or '(nothing)'!r} where {before or '(nothing)'!r} was recorded"))
            if difference.earlier_rounds:
                console.print(Text(f"  {number}: {difference.earlier_rounds} messages of its prompt are from before the recording"))
        for line in _remarks(one, parts):
            console.print(Text(line), soft_wrap=True)


def count(replayed: Sequence[Replayed]) -> int:
    """How many stretches of speech differ at any stage."""
    return sum(bool(difference.stages) for one in replayed for difference in one.differences)


def _table(one: Replayed, parts: Mapping[str, Sequence[str]], user_width: int) -> Table:
    found = Table(box=box.SIMPLE, collapse_padding=True, pad_edge=False)
    found.title = f"Stream {one.take.stream}, {one.take.seconds:.1f} s; seconds as recorded → replayed"
    shown = [name for name in parts if name in SHOWN_TIMES]
    for name in ("#", "User", "Differs in", *(name.capitalize() for name in shown)):
        found.add_column(name, no_wrap=True, justify="left" if name in ("User", "Differs in") else "right")
    for number, difference in enumerate(one.differences, 1):
        said = difference.before or difference.after
        found.add_row(
            str(number),
            Text(_short((said.transcript or "–") if said else "–", user_width)),
            _where(difference),
            *(_times(difference, parts[name]) for name in shown),
        )
    return found


def _where(difference: Difference) -> Text:
    if not difference.before or not difference.after:
        return Text("only recorded" if difference.before else "only replayed", "red")
    return Text(", ".join(difference.stages), "red") if difference.stages else Text("nothing", "green")


def _times(difference: Difference, parts: Sequence[str]) -> str:
    before, after = (latency_ms(side, *parts) for side in (difference.before, difference.after))
    if before is None and after is None:
        return "–"
    return " → ".join("–" if value is None else f"{value / 1000:.2f}" for value in (before, after))


def _remarks(one: Replayed, parts: Mapping[str, Sequence[str]]) -> list[str]:
    differing = [difference for difference in one.differences if difference.stages]
    lines = [f"stretches of speech: {len(one.differences)}, with differences: {len(differing)}"]
    for name, summed in parts.items():
        pairs = [(latency_ms(difference.before, *summed), latency_ms(difference.after, *summed)) for difference in one.differences]
        both = [(before, after) for before, after in pairs if before is not None and after is not None]
        if both:
            before_s, after_s = (median(values) / 1000 for values in zip(*both, strict=True))
            lines.append(f"{name}: {before_s:.3f} s → {after_s:.3f} s (median)")
    if one.take.begin_sample:
        lines.append(
            "The source had begun before the recording: what its segmenter knew of the room by then, the replay has to find out anew."
        )
    if one.take.missing_samples:
        lines.append(f"{one.take.missing_samples} samples are missing in the recording, and silent in the replay.")
    return lines


def _fields(utterance: Utterance | None) -> dict[str, object] | None:
    if utterance is None:
        return None
    names = ("end_sample", "skipped_ms", "transcript", "prompt", "reply", "state", "timings_ms")
    return {name: getattr(utterance, name) for name in names}


def _first_sample(difference: Difference) -> int:
    there = difference.before or difference.after
    assert there is not None, "a difference has at least one side"
    return there.first_sample


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
