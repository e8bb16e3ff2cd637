"""Runs a launcher whose children are given as JSON: `python -m tests.chaos.launch [{"name": …, "program": …}, …] [patience]`."""

from __future__ import annotations

import json
import sys

from bus.addresses import Addresses
from bus.errors import EarshotError
from supervisor.children import Child
from supervisor.instance import take
from supervisor.launcher import Launcher
from supervisor.restart import RestartLimits
from supervisor.ward import Patience

WATCHDOG_S = 2.0
"""Of a child for which nothing else is said. They beat forty times as often: who does not is no victim of a busy machine."""


def main(children_json: str, patience_json: str) -> int:
    children = []
    for entry in json.loads(children_json):
        program = entry.pop("program")
        children.append(Child(argv=(sys.executable, "-m", *f"tests.chaos.{program}".split()), **{"watchdog_s": WATCHDOG_S, **entry}))
    patience = json.loads(patience_json)
    restart = RestartLimits(**patience.pop("restart", {}))
    addresses = Addresses.resolve()
    try:
        lock = take(addresses)
        with Launcher(children, addresses, Patience(restart=restart, **patience)) as launcher:
            failure = launcher.run().failure
        lock.release()
    except EarshotError as error:
        failure = str(error)
    if failure:
        sys.stderr.write(f"error: {failure}\n")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "{}"))
