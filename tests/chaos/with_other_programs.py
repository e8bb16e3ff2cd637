"""The command `supervisor`, with other programs in the place of some actors: `… {"NAME": "PROGRAM", …} ARGUMENTS…`.

A PROGRAM is one of this folder; it is given the actor's name.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from bus.settings import Settings
from supervisor import cli, start
from supervisor.children import Child, plan
from supervisor.placement import Placement

programs: dict[str, str] = json.loads(sys.argv.pop(1))


def plan_with_other_programs(settings: Settings, placement: Placement, *, foreground: bool) -> list[Child]:
    children = plan(settings, placement, foreground=foreground)
    assert programs.keys() <= {child.name for child in children}
    return [replace(child, argv=_argv(child)) for child in children]


def _argv(child: Child) -> tuple[str, ...]:
    program = programs.get(child.name)
    return (sys.executable, "-m", f"tests.chaos.{program}", child.name) if program else child.argv


start.plan = plan_with_other_programs  # type: ignore[attr-defined]
cli.main()
