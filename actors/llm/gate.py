"""Where what is done ahead of time waits until it is wanted. Pure."""

from __future__ import annotations

from collections.abc import Callable

Action = Callable[[], None]


class Gate:
    """Keeps actions in their order while it is closed. It is opened once."""

    def __init__(self, *, is_open: bool) -> None:
        self._kept: list[Action] | None = None if is_open else []

    def do(self, action: Action) -> None:
        """Do this now, or when the gate is opened, after all that came before it."""
        if self._kept is None:
            action()
        else:
            self._kept.append(action)

    def open(self) -> None:
        """Do what was kept; from now on nothing is."""
        kept, self._kept = self._kept or [], None
        for action in kept:
            action()
