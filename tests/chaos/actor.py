"""Runs an actor as `python -m actors` does, real or of these tests: `python -m tests.chaos.actor NAME`.

The deadlines of its phases are those in $DEADLINES (JSON), so that a test need not wait for the real ones.
"""

import json
import os
import sys

from actors.__main__ import main
from actors.liveness import Deadlines
from actors.registry import ACTORS

ACTORS["hanger"] = "tests.chaos.hanger:Hanger"
ACTORS["late-importer"] = "tests.chaos.hang_in_import:Hanger"
sys.exit(main(sys.argv[1:], Deadlines(**json.loads(os.environ.get("DEADLINES", "{}")))))
