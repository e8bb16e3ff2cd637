"""All children together: who starts when, when all are ready, what a failure means, and who is stopped after whom.

Pure but for what the wards do: time is handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from supervisor.states import Event, State
from supervisor.ward import Ward

GIVE_UP_S = 5.0
"""After SIGKILL: a process that the kernel does not let go of (a dead disk) must not keep the launcher for ever."""


class Crew:
    """The wards. They are started in waves, each once the one before is up, and stopped in reverse, the base at the very last."""

    def __init__(self, wards: Sequence[Ward], stop_s: float, *, one_shot: bool = False) -> None:
        """`stop_s`: time for the whole way down. `one_shot`: the run is for a result, so no failure is lived with."""
        self.wards = {ward.name: ward for ward in wards}
        self.ready = False
        """All were up once."""
        self.failure = ""
        """Why everything was stopped, when nobody had asked for it."""
        self.misconfigured = False
        """And only the user can put it right."""
        self.stopping = False
        self._stop_s = stop_s
        self._one_shot = one_shot
        self._up = _groups(wards, lambda ward: ward.child.wave)
        self._started: list[Ward] = []
        self._down = _groups(wards, lambda ward: (ward.child.base, -ward.child.wave))
        self._stopped_by_s = math.inf
        self._next_group_s = math.inf

    def deadline_s(self) -> float:
        """When `run_due` and `advance` are to be called next."""
        return min(self._next_group_s, *(ward.deadline_s() for ward in self.wards.values()), math.inf)

    def run_due(self, now_s: float) -> None:
        for ward in self.wards.values():
            ward.run_due(now_s)

    def forgive(self, gap_s: float) -> None:
        """The launcher itself was stopped for `gap_s`."""
        for ward in self.wards.values():
            ward.forgive(gap_s)

    def summary(self) -> str:
        """Everybody's state in one line."""
        states = [ward.state.shown for ward in self.wards.values()]
        return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))

    def advance(self, now_s: float) -> None:
        """Take the steps that the present states allow; to be called after anything has happened."""
        if self.stopping:
            self._go_down(now_s)
            return
        failed = [ward for ward in self.wards.values() if ward.state is State.FAILED]
        if failed and (self._one_shot or not self.ready):
            self.failure = failed[0].reason
            self.misconfigured = failed[0].misconfigured
            self.stop(now_s)
        elif not self.ready:
            self._go_up(now_s)

    @property
    def ended(self) -> bool:
        """The way down has been gone."""
        return self.stopping and not self._down

    def stop(self, now_s: float) -> None:
        """Begin the way down."""
        if not self.stopping:
            self.stopping = True
            self._stopped_by_s = now_s + self._stop_s
            self._stop_group(now_s)
            self._go_down(now_s)

    def kill(self) -> None:
        """End all at once."""
        for ward in self.wards.values():
            ward.kill()

    def _go_up(self, now_s: float) -> None:
        while all(_is_up(ward) for ward in self._started):
            if not self._up:
                self.ready = True
                return
            group = self._up.pop(0)
            self._started += group
            for ward in group:
                ward.handle(Event.START, now_s)

    def _go_down(self, now_s: float) -> None:
        while self._down and (now_s >= self._next_group_s or not any(ward.state.has_process for ward in self._down[0])):
            self._down.pop(0)
            self._stop_group(now_s)

    def _stop_group(self, now_s: float) -> None:
        """Each group has an equal share of the time that is left: who ends early leaves his to the others."""
        if not self._down:
            self._next_group_s = math.inf
            return
        share_s = max(0.0, self._stopped_by_s - now_s) / len(self._down)
        self._next_group_s = now_s + share_s + GIVE_UP_S
        for ward in self._down[0]:
            ward.handle(Event.STOP, now_s, share_s)


def _is_up(ward: Ward) -> bool:
    return ward.state is State.READY or ward.done


def _groups(wards: Sequence[Ward], key: Callable[[Ward], Any]) -> list[list[Ward]]:
    return [list(group) for _, group in groupby(sorted(wards, key=key), key)]
