"""`python -m actors NAME [--set SECTION.KEY=JSON]…`: run one actor.

The order matters: the process pins itself and begins its beat before it imports anything large, so that a thread pool
made by an import has the right size and a hang in an import is noticed.
"""

from __future__ import annotations

import faulthandler
import os
import sys

from actors.liveness import Beat, Deadlines, Phases
from actors.log import forgive_stderr
from bus.notify import Notifier
from bus.parent import die_with_parent


def main(arguments: list[str], deadlines: Deadlines | None = None) -> int:
    """Run the actor named by the first argument; return the exit status."""
    if not arguments or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m actors NAME [--set SECTION.KEY=JSON]...\n")
        return os.EX_USAGE
    name, overrides = arguments[0], arguments[1:]
    forgive_stderr()
    faulthandler.enable()  # on SIGABRT too: that is how the parent asks for the stacks
    die_with_parent()
    _pin(os.environ.get("EARSHOT_CPUS", ""))
    phases = Phases(deadlines=deadlines)
    notifier = Notifier()
    beat = Beat(phases, notifier, os.environ)
    beat.start()
    from actors.actor import run

    try:
        return run(name, overrides, phases, notifier)
    finally:
        beat.end()


def _pin(cpus: str) -> None:
    """Run on these CPUs only: `5-9,15`."""
    wanted: set[int] = set()
    for part in filter(None, cpus.split(",")):
        first, _, last = part.partition("-")
        wanted |= set(range(int(first), int(last or first) + 1))
    if wanted:
        os.sched_setaffinity(0, wanted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
