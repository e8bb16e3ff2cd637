"""What /proc and the log of the launcher tell. The parsing is pure."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

BUSY_LOAD_PER_CORE = 0.5
_JOURNAL_LINE = re.compile(r"(?P<time>\S+) (?P<name>\S+) \S+ (?P<state>[a-z-]+)(?:[:,]|$)")


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, all of its threads, seconds. Raise OSError when there is no such process.

    From its CPU-time clock (clock_getcpuclockid(3), which Python offers for threads alone): /proc counts in steps of 10 ms, as much as an
    idle actor takes in ten seconds.
    """
    return time.clock_gettime(~pid << 3 | 2)


def rss_mb(pid: int) -> float:
    """Resident memory, MB. Pages shared with other processes count in each."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def parse_journal(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (wall time in ns, actor, new state) for each change of state in the launcher's log."""
    for line in text.splitlines():
        found = _JOURNAL_LINE.match(line)
        if found:
            yield round(datetime.fromisoformat(found["time"]).timestamp() * 1e9), found["name"], found["state"]


def ready_after_s(journal: str, since_ns: int) -> dict[str, float]:
    """For each actor the time from `since_ns` (wall) to the first time that it was ready after that, seconds."""
    times: dict[str, float] = {}
    for time_ns, name, state in parse_journal(journal):
        if state == "ready" and time_ns >= since_ns:
            times.setdefault(name, (time_ns - since_ns) / 1e9)
    return times


def machine() -> dict[str, str]:
    """What a figure is worthless without."""
    model = re.search(r"^(?:model name|Model)\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": f"{os.cpu_count()} × {model[1] if model else platform.machine()}",
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def is_busy() -> bool:
    """Whether other programs use so much of the machine that figures cannot be compared."""
    return os.getloadavg()[0] > BUSY_LOAD_PER_CORE * (os.cpu_count() or 1)
