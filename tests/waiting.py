"""Waiting for an event, with a deadline: the only way in which these tests wait."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE_S = 60.0
"""Only what fails waits so long. What is quick on an idle machine takes ten times as long on one where other tests run too."""


def pump_until(
    condition: Callable[[], object], *steps: Callable[[], object], deadline_s: float = DEADLINE_S, explain: Callable[[], str] = lambda: ""
) -> None:
    """Run `steps` again and again until `condition` holds; fail when it does not within the deadline, with what `explain` says then."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {explain() or condition}"
        for step in steps:
            step()


def wait_until(
    condition: Callable[[], object], deadline_s: float = DEADLINE_S, interval_s: float = 0.01, explain: Callable[[], str] = lambda: ""
) -> None:
    """Look again and again, for things that other processes do; a look that takes long itself leaves them as long in peace."""
    looked_s = time.monotonic()

    def look() -> object:
        nonlocal looked_s
        looked_s = time.monotonic()
        return condition()

    pump_until(look, lambda: time.sleep(max(interval_s, time.monotonic() - looked_s)), deadline_s=deadline_s, explain=explain)
