"""Logs: one line an event on stderr, JSON under systemd, readable elsewhere. What was said never goes into them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class _Forgiving(io.FileIO):
    """Standard error on a disk that may be full: what cannot be written is lost, and nobody is told."""

    def write(self, data: Any) -> int:
        with suppress(OSError):
            return super().write(data)
        return len(data)


def forgive_stderr() -> None:
    """Let no write to standard error fail from now on.

    A log on a full disk must not end an actor, nor turn its exit status into a failure: Python exits with 120 when its last flush
    fails.
    """
    sys.stderr = io.TextIOWrapper(_Forgiving(2, "w", closefd=False), errors="backslashreplace", write_through=True)


LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Log:
    """A structlog logger that is made when its first line is written.

    Importing structlog takes 0.2 s of processor time, more than all else that a small actor does to start; an actor that
    has nothing to say does not pay for it.
    """

    def __init__(self, level: str, style: str, **bound: str) -> None:
        """`level` as in LEVELS; `style` is `auto`, `json` or `console`; `bound` stands on every line."""
        self._level = LEVELS[level]
        self._style = style
        self._bound = bound
        self._turn = ""
        self._made: Any = None

    @contextmanager
    def about(self, turn: str) -> Iterator[None]:
        """Every line that is written within this block by the main loop has the turn on it."""
        before, self._turn = self._turn, turn
        try:
            yield
        finally:
            self._turn = before

    def debug(self, event: str, **values: Any) -> None:
        self._write("debug", event, values)

    def info(self, event: str, **values: Any) -> None:
        self._write("info", event, values)

    def warning(self, event: str, **values: Any) -> None:
        self._write("warning", event, values)

    def error(self, event: str, **values: Any) -> None:
        self._write("error", event, values)

    def exception(self, event: str, **values: Any) -> None:
        """An error with the traceback of the exception being handled."""
        self._write("error", event, {**values, "exc_info": True})

    def _write(self, method: str, event: str, values: dict[str, Any]) -> None:
        if LEVELS[method] < self._level:
            return
        if self._made is None:
            self._made = _make(self._style).bind(**self._bound)
        if self._turn:
            values = {"turn": self._turn, **values}
        getattr(self._made, method)(event, **values)


def _make(style: str) -> Any:
    import structlog

    as_json = style == "json" or (style == "auto" and "JOURNAL_STREAM" in os.environ)
    last: list[Any]
    if as_json:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        last = [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0)
        ]
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=False), *last],
    )
