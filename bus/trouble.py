"""Trouble with the disk: told once when it comes and once when it goes, and what it interrupted is tried again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from bus.errors import EarshotError
from bus.sqlite import fault_of


class Trouble:
    """Whether jobs can be taken and written down."""

    def __init__(self, spool: Path, on_trouble: Callable[[str], None]) -> None:
        """`on_trouble` gets a line for the user, and an empty one when all is well again."""
        self._spool = spool
        self._on_trouble = on_trouble
        self.lasts = False
        self._is_disk = False

    def tell(self, line: str, *, is_disk: bool = False) -> None:
        """Something is wrong."""
        if not self.lasts:
            self.lasts, self._is_disk = True, is_disk
            self._on_trouble(line)

    def tell_disk(self, error: sqlite3.Error) -> None:
        """The spool did not do what it was asked for. Raise EarshotError when the file itself is at fault: the next start of the
        dispatcher mends it."""
        fault = fault_of(error, self._spool)
        if fault.damaged:
            raise EarshotError(f"the spool {self._spool} is damaged ({error}); starting again to mend it")
        self.tell(f"the spool cannot be written: {fault.text}; work goes on by itself then", is_disk=True)

    def written(self) -> None:
        """The disk is well."""
        if self._is_disk:
            self.over()

    def over(self) -> None:
        """A new job was taken and written: all is well."""
        if self.lasts:
            self.lasts = self._is_disk = False
            self._on_trouble("")

    def caught(self) -> Caught:
        """A block whose work is tried again later when the disk does not let us; nothing is lost by that."""
        return Caught(self.tell_disk)


class Caught:
    """Catches what SQLite raises in a block, and tells of it."""

    def __init__(self, tell: Callable[[sqlite3.Error], None]) -> None:
        self._tell = tell
        self.happened = False

    def __enter__(self) -> Caught:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if isinstance(error, sqlite3.Error):
            self.happened = True
            self._tell(error)
        return self.happened
