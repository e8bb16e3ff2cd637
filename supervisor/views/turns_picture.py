"""A picture of turns: a lane for each actor, a bar for each part of each turn, over time. The only place that needs matplotlib.

One turn is drawn at its full width, with a list of its parts; of many the idle time between them is cut, and they are set in rows like
a score. Bars stand for work; what waits on its way to a worker is thin; the thread through them is what the first word waited for. What
was done ahead is pale, and lies where it was: under the silence that was waited out meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from bus.errors import EarshotError
from supervisor.anatomy import (
    ENDPOINT,
    FIRST_WORD,
    GROUPS,
    HEARING,
    QUEUE,
    REST,
    SILENCE,
    THINKING,
    WORK,
    Ahead,
    Anatomy,
    Part,
    Placed,
    Trial,
    lanes,
    percentile,
    place,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = {ENDPOINT: "#c9ccd4", HEARING: "#2a9d8f", THINKING: "#e9a820", FIRST_WORD: "#d1495b", REST: "#5b7fbd"}
INK: Final = "#22262e"
FAINT: Final = "#8a909c"
SILENCE_FILL: Final = "#e3e5ea"
AHEAD_OPACITY: Final = 0.45
LOST_COLOUR: Final = "#a4161a"
LOST_FILL: Final = "#fbe6e7"
HEIGHTS: Final = {WORK: 0.62, SILENCE: 0.62, QUEUE: 0.22}
WIDTH_IN: Final = 12.0
LANE_IN: Final = 0.42
"""Height of a lane."""
ROWS_APART_IN: Final = 0.08
ROW_MS: Final = 6000.0
"""Of turns in one row, where they are many."""
LABEL_CHARS: Final = 24
TITLE_CHARS: Final = 70
LOST_CHARS: Final = 48
LEGEND_COLUMNS: Final = 4
LETTER_WIDTH: Final = 0.0068
"""Of a letter of a label, at most and on the average, as a part of the width of the lanes."""
LINE_POINTS: Final = 10.5
THIN_POINTS: Final = 0.8
"""The line around a bar, so that one of some microseconds can still be seen."""


def save(turns: Sequence[Anatomy], file: Path, *, words: bool) -> None:
    """Write the picture of these turns as SVG. What was said is in it only with `words`.

    Raises EarshotError when there is nothing to draw, matplotlib is not installed or the file cannot be written.
    """
    drawn = [found for found in turns if found.parts]
    if not drawn:
        raise EarshotError("there is no turn to draw yet; `supervisor hear FILE` makes one")
    try:
        from matplotlib import rc_context
    except ImportError:
        raise EarshotError(f"a picture needs matplotlib, which is not installed: {sys.executable} -m pip install matplotlib") from None
    # Letters as outlines: the picture looks the same wherever it is opened. The fixed salt makes the same turns the same file.
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "earshot", "font.family": "DejaVu Sans", "font.size": 9}):
        figure = draw(drawn, words=words)
        try:
            figure.savefig(file, format="svg", bbox_inches="tight", pad_inches=0.2, metadata={"Date": None, "Creator": "Earshot"})
        except OSError as error:
            raise EarshotError(f"cannot write {file}: {error.strerror}") from None


def draw(turns: Sequence[Anatomy], *, words: bool) -> Figure:
    """The picture of these turns, at least one, each with parts."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names = lanes(turns)
    alone = len(turns) == 1
    rows = place(turns, ROW_MS)
    span_ms = max(row[-1].begin_ms + max(placed.anatomy.total_ms for placed in row) for row in rows)
    height_in = len(rows) * (LANE_IN * len(names) + 0.75) + 0.8
    figure = Figure(figsize=(WIDTH_IN, height_in), layout=ConstrainedLayoutEngine(h_pad=ROWS_APART_IN))
    for number, row in enumerate(rows):
        axes = figure.add_subplot(len(rows), 1, number + 1)
        _prepare(axes, names, span_ms)
        for placed in row:
            _turn(axes, placed, names)
        if alone:
            axes.set_xlabel("ms from the end of speech", color=INK)
            _label(axes, _moments(turns[0]), span_ms)
        else:
            _time_marks(axes, row, span_ms)
            _label(axes, [_Label(placed.begin_ms, _name(placed, words=words)) for placed in row], span_ms)
    figure.suptitle(_title(turns, words=words), fontsize=11, fontweight="bold", color=INK, x=0.01, ha="left")
    _legend(figure, turns, alone=alone)
    return figure


def _title(turns: Sequence[Anatomy], *, words: bool) -> str:
    if len(turns) > 1:
        waits = [found.first_word_ms for found in turns if found.first_word_ms is not None]
        if not waits:
            return f"{len(turns)} turns"
        middle_s, longest_s = percentile(waits, 50) / 1000, max(waits) / 1000
        return f"{len(turns)} turns: the first word came after {middle_s:.2f} s (median), {longest_s:.2f} s at most"
    (found,) = turns
    record = found.record
    when = datetime.fromtimestamp(record.wall_ns / 1e9).strftime("%Y-%m-%d %H:%M:%S")
    first = "" if found.first_word_ms is None else f": first word after {found.first_word_ms / 1000:.2f} s, over after"
    said = f"\n“{_short(record.transcript, TITLE_CHARS)}” – “{_short(record.reply, TITLE_CHARS)}”" if words else ""
    return f"Turn {record.turn}, {record.state}, {when}{first or ':'} {found.total_ms / 1000:.2f} s{said}"


def _prepare(axes: Axes, names: Sequence[str], span_ms: float) -> None:
    axes.set_xlim(-0.012 * span_ms, 1.012 * span_ms)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.tick_params(axis="x", colors=FAINT, labelcolor=INK)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    for number, name in enumerate(names):
        lane = axes.axhspan(number - 0.5, number + 0.5, color="#f3f4f7" if number % 2 == 0 else "#ffffff", zorder=0, linewidth=0)
        lane.set_gid(f"lane-{name}")


def _turn(axes: Axes, placed: Placed, names: Sequence[str]) -> None:
    found = placed.anatomy
    for part in found.parts:
        _bar(axes, placed, part, names.index(part.actor))
        if part.ahead is not None:
            _ahead(axes, placed, part, part.ahead, names.index(part.actor))
    for number, trial in enumerate(found.lost, 1):
        _lost(axes, placed, trial, names.index(trial.attempt.worker), number)
    _thread(axes, placed, names)
    if found.first_word_ms is not None:
        axes.axvline(placed.begin_ms + found.first_word_ms, color=INK, linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)


@dataclass(frozen=True)
class _Label:
    """Text over the lanes, at a place in time."""

    at_ms: float
    text: str
    align: Literal["left", "right"] = "left"


def _moments(found: Anatomy) -> list[_Label]:
    moments = [_Label(0.0, "end of speech")]
    if found.first_word_ms is not None:
        align: Literal["left", "right"] = "right" if found.first_word_ms > found.total_ms / 2 else "left"
        moments.append(_Label(found.first_word_ms, f"first word, {found.first_word_ms:.0f} ms", align))
    return moments


def _name(placed: Placed, *, words: bool) -> str:
    found = placed.anatomy
    wait = "" if found.first_word_ms is None else f" · {found.first_word_ms / 1000:.2f} s"
    said = f"\n“{_short(found.record.transcript, LABEL_CHARS)}”" if words and found.record.transcript else ""
    return f"{placed.number}{wait}{said}"


def _label(axes: Axes, labels: Sequence[_Label], span_ms: float) -> None:
    """Write the labels over the lanes; one that would lie over another goes higher."""
    free_from_ms: list[float] = []
    lines = max(label.text.count("\n") + 1 for label in labels)
    for label in labels:
        width_ms = max(map(len, label.text.split("\n"))) * LETTER_WIDTH * span_ms
        begin_ms = label.at_ms - (width_ms if label.align == "right" else 0.0)
        level = next((level for level, free_ms in enumerate(free_from_ms) if free_ms <= begin_ms), len(free_from_ms))
        free_from_ms[level : level + 1] = [begin_ms + width_ms]
        axes.annotate(
            label.text,
            (label.at_ms, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 3 + level * lines * LINE_POINTS),
            textcoords="offset points",
            ha=label.align,
            va="bottom",
            color=INK,
            fontsize=8,
            annotation_clip=False,
        )


def _bar(axes: Axes, placed: Placed, part: Part, lane: int) -> None:
    colour, height = COLOURS[part.group], HEIGHTS[part.kind]
    begin_ms = placed.begin_ms + part.begin_ms
    (bar,) = axes.barh(lane, part.duration_ms, height, begin_ms, color=colour, edgecolor=colour, linewidth=THIN_POINTS, zorder=2)
    if part.kind == SILENCE:
        bar.set(facecolor=SILENCE_FILL, hatch="....", edgecolor=COLOURS[ENDPOINT])
    bar.set_gid(f"turn-{placed.number}-{part.name}")


def _ahead(axes: Axes, placed: Placed, part: Part, ahead: Ahead, lane: int) -> None:
    colour, begin_ms = COLOURS[part.group], placed.begin_ms + ahead.begin_ms
    (bar,) = axes.barh(lane, ahead.duration_ms, HEIGHTS[WORK], begin_ms, color=colour, edgecolor=colour, linewidth=THIN_POINTS, zorder=2)
    bar.set_alpha(AHEAD_OPACITY)
    bar.set_gid(f"turn-{placed.number}-{part.name}-ahead")


def _lost(axes: Axes, placed: Placed, trial: Trial, lane: int, number: int) -> None:
    one = trial.attempt
    duration_ms = one.end_ms - one.begin_ms
    (bar,) = axes.barh(lane, duration_ms, HEIGHTS[WORK], placed.begin_ms + one.begin_ms, linewidth=THIN_POINTS, zorder=3)
    bar.set(facecolor=LOST_FILL, edgecolor=LOST_COLOUR, hatch="xxxx")
    bar.set_gid(f"turn-{placed.number}-lost-{number}")


def _thread(axes: Axes, placed: Placed, names: Sequence[str]) -> None:
    """The critical path, from lane to lane."""
    points = [
        (placed.begin_ms + at_ms, names.index(part.actor))
        for part in placed.anatomy.parts
        if part.critical
        for at_ms in (part.begin_ms, part.end_ms)
    ]
    (line,) = axes.plot(*zip(*points, strict=True), color=INK, linewidth=1.1, alpha=0.75, solid_joinstyle="round", zorder=4)
    line.set_gid(f"turn-{placed.number}-critical-path")


def _time_marks(axes: Axes, row: Sequence[Placed], span_ms: float) -> None:
    """The time of day at which the speech of each turn ended, where there is room for it, and a mark each 100 ms of each turn."""
    begins, texts, free_from_ms = [], [], 0.0
    for placed in row:
        text = datetime.fromtimestamp(placed.anatomy.begin_wall_ns / 1e9).strftime("%H:%M:%S")
        begins.append(placed.begin_ms)
        texts.append(text if placed.begin_ms >= free_from_ms else "")
        if texts[-1]:
            free_from_ms = placed.begin_ms + (len(text) + 1) * LETTER_WIDTH * span_ms
    axes.set_xticks(begins, texts, ha="left", fontsize=7.5)
    steps = [placed.begin_ms + 100 * step for placed in row for step in range(int(placed.anatomy.total_ms // 100) + 1)]
    axes.set_xticks(steps, minor=True)
    axes.tick_params(axis="x", which="minor", length=2, color=FAINT)


def _legend(figure: Figure, turns: Sequence[Anatomy], *, alone: bool) -> None:
    """Under the lanes: of one turn all parts with their times, of many what the colours mean; and what is lost."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    lost = [trial for found in turns for trial in found.lost]
    if alone:
        handles = [Patch(color=COLOURS[part.group], label=_part_label(part)) for part in turns[0].parts]
    else:
        handles = [Patch(color=COLOURS[group], label=name) for group, name in GROUPS.items()]
    shown = lost if alone else lost[:1]
    for trial in shown:
        one = trial.attempt
        label = f"{one.worker} {_ms(one.end_ms - one.begin_ms)}, lost: {_short(one.lost, LOST_CHARS)}" if alone else "attempt that was lost"
        handles.append(Patch(facecolor=LOST_FILL, edgecolor=LOST_COLOUR, hatch="xxxx", label=label))
    if any(found.ahead_ms for found in turns):
        handles.append(Patch(color=FAINT, alpha=AHEAD_OPACITY, label="pale: done ahead, no part of the wait"))
    more: list[Patch | Line2D] = [*handles, Line2D([], [], color=INK, linewidth=1.1, label="what the first word waited for")]
    more.append(Line2D([], [], color=FAINT, linewidth=3, label="thin: on the way, or waiting for a worker"))
    if not alone:
        more.append(Line2D([], [], color=FAINT, linewidth=1, marker="|", markersize=5, linestyle="", label="each 100 ms"))
    legend = figure.legend(handles=more, loc="outside lower left", ncols=LEGEND_COLUMNS, frameon=False, fontsize=8, labelcolor=INK)
    legend.set_gid("legend")


def _part_label(part: Part) -> str:
    ahead = "" if part.ahead is None else f" ({_ms(part.ahead.duration_ms)} ahead)"
    return f"{part.label} {_ms(part.duration_ms)}{ahead}"


def _ms(duration_ms: float) -> str:
    return f"{duration_ms:.1f} ms" if duration_ms < 100 else f"{duration_ms:.0f} ms"


def _short(text: str, chars: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= chars else line[: chars - 1] + "…"
