"""One crash, for people."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from bus.errors import EarshotError
from bus.messages.base import Message
from bus.recording import Recording
from supervisor.crashes import Crash
from supervisor.views.events import text_line

LOG_LINES: Final = 40
EVENTS: Final = 15
_STACK: Final = re.compile(r"^(Current thread|Thread|Fatal Python error|phase '|Traceback|  File )")


def text(place: Path, crash: Crash) -> str:
    """Who died, how and why; the end of its log, with the stacks; the last events; where the rest is."""
    when = datetime.fromtimestamp(crash.wall_ns / 1e9).strftime("%Y-%m-%d %H:%M:%S")
    parts = [
        f"{crash.actor} ({crash.incarnation}) ended with {crash.how} at {when}, {crash.up_s:.1f} s after its start",
        f"why: {crash.reason}",
        f"phase: {crash.phase or 'unknown'}",
        f"job: {crash.job_id or 'none'}",
        "versions: " + ", ".join(f"{name} {version}" for name, version in crash.versions.items()),
        "",
        "The end of its log:",
        *(f"  {line}" for line in _log_end(place / "log.txt")),
        "",
        "The last events:",
        *(f"  {line}" for line in _last_events(place / "bus.mcap")),
        "",
        f"All of it is in {place}{_advice(place)}.",
    ]
    return "\n".join(parts)


def _advice(place: Path) -> str:
    kept = (place / "job.msgpack").exists()
    return f"; `supervisor crashes replay {place.name}` gives the job to another" if kept else ""


def _log_end(log: Path) -> list[str]:
    with suppress(OSError):
        lines = log.read_text(errors="replace").splitlines()
        first_stack = next((at for at in range(max(0, len(lines) - 200), len(lines)) if _STACK.match(lines[at])), len(lines))
        return lines[min(first_stack, max(0, len(lines) - LOG_LINES)) :]
    return ["(there is none)"]


def _last_events(bus: Path) -> list[str]:
    with suppress(EarshotError):
        events = [item.what for item in Recording(bus) if isinstance(item.what, Message)]
        return [text_line(event) for event in events[-EVENTS:]]
    return ["(they were not recorded)"]
