"""What a process holds, sample by sample, and by how much that has grown. Pure but for `look`, which reads /proc."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

GOAL_PERCENT = 5.0
"""More than this after the first mark is a leak."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one process holds."""

    rss_kb: int
    """Resident memory, pages shared with others included."""
    uss_kb: int
    """Memory of its own."""
    fds: int
    sockets: int
    """Those of its file descriptors that are sockets."""
    threads: int


@dataclass(frozen=True, slots=True)
class Mark:
    """What all processes held after so many turns."""

    turns: int
    holdings: Mapping[str, Holding]
    files_kb: Mapping[str, int]
    """Of the spool, the memory store and the logs."""


def look(pid: int) -> Holding:
    """What a process holds now. Raises OSError when it is gone."""
    process = Path(f"/proc/{pid}")
    rollup = parse_rollup((process / "smaps_rollup").read_text())
    descriptors = []
    for link in (process / "fd").iterdir():
        try:
            descriptors.append(str(link.readlink()))
        except FileNotFoundError:
            continue  # closed meanwhile
    return Holding(
        rss_kb=rollup["Rss"],
        uss_kb=rollup["Private_Clean"] + rollup["Private_Dirty"],
        fds=len(descriptors),
        sockets=sum(target.startswith("socket:") for target in descriptors),
        threads=len(list((process / "task").iterdir())),
    )


def parse_rollup(text: str) -> dict[str, int]:
    """The sizes in /proc/PID/smaps_rollup, kB by name."""
    lines = (line.split() for line in text.splitlines()[1:])
    return {words[0].rstrip(":"): int(words[1]) for words in lines}


def median(samples: Sequence[Holding]) -> Holding:
    """The middle of several samples, each number for itself: what a turn in progress holds is not counted."""
    return Holding(*(round(statistics.median(getattr(sample, field.name) for sample in samples)) for field in fields(Holding)))


def growth_percent(before: Holding, after: Holding) -> float:
    """By how much the memory has grown."""
    return (after.rss_kb / before.rss_kb - 1) * 100


def leaks(first: Mark, last: Mark) -> list[str]:
    """A line for each process that holds more at the last mark than at the first, by more than the goal."""
    found = []
    for name, before in first.holdings.items():
        after = last.holdings.get(name)
        if after is None:
            found.append(f"{name} is gone")
            continue
        percent = growth_percent(before, after)
        if percent > GOAL_PERCENT:
            found.append(f"{name}: memory grew by {percent:.1f} %, from {before.rss_kb} to {after.rss_kb} kB")
        for what in ("fds", "sockets", "threads"):
            if getattr(after, what) > getattr(before, what):
                found.append(f"{name}: {what} grew from {getattr(before, what)} to {getattr(after, what)}")
    return found
