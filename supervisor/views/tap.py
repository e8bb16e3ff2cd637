"""`supervisor tap`: the events as they pass, and those of the last minutes."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final, Literal

from bus.addresses import Addresses
from bus.errors import EarshotError
from bus.messages.base import Message
from supervisor.filters import Wanted
from supervisor.instance import is_running
from supervisor.tapping import Tap
from supervisor.views.events import Lines, json_line, raw_line

Form = Literal["text", "json", "raw"]
_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def seconds(text: str) -> float:
    """Read `30s`, `5m`, `1h` or `30`. Raise EarshotError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)", text)
    if match is None:
        raise EarshotError(f"{text!r} is no length of time; write 30s, 5m or 1h")
    return float(match[1]) * _UNITS_S[match[2]]


def lines(messages: Iterator[Message], form: Form) -> Iterator[tuple[Message, str]]:
    """Each event with the line that shows it; on a terminal cut to its width and in colour."""
    is_terminal = sys.stdout.isatty()
    for_people = Lines(shutil.get_terminal_size().columns if is_terminal else None, is_terminal and "NO_COLOR" not in os.environ)
    for message in messages:
        if form == "text":
            yield from ((message, line) for line in for_people.of(message))
        else:
            yield message, json_line(message) if form == "json" else raw_line(message)


def tap(
    addresses: Addresses, wanted: Wanted, *, since_s: float | None, timeout_s: float | None, tell: Callable[[str], None]
) -> Iterator[Message]:
    """Yield events that are wanted until the time is over or the assistant ends; before them those of the last `since_s` seconds.

    `tell` gets a line for people when events were missed. Raises NoInstance when there is no assistant; not with `since_s`, which
    then shows what the flight recorder has of the last one.
    """
    if since_s is None:
        with Tap(addresses, wanted, tell) as live:
            yield from live.messages(timeout_s)
        return
    if addresses.remote:
        raise EarshotError("what passed before is with the other machine's flight recorder; leave --since out")
    since_ns = time.time_ns() - round(since_s * 1e9)
    if not is_running(addresses):
        yield from _recorded(addresses, wanted, since_ns)
        tell("no assistant is running: this is what the flight recorder had of the last one")
        return
    with Tap(addresses, wanted, tell) as live:
        live.wait_for_recorder()
        seen = set()
        for message in _recorded(addresses, wanted, since_ns):
            seen.add(message.id)
            yield message
        for message in live.messages(timeout_s):
            if message.id not in seen:
                yield message


def _recorded(addresses: Addresses, wanted: Wanted, since_ns: int) -> Iterator[Message]:
    from bus.recording import read_flight  # a library of its own, which a plain tap does not pay for

    for item in read_flight(addresses.flight_dir, since_ns):
        if isinstance(item.what, Message) and wanted.matches(item.what):
            yield item.what
