"""Talks to the launcher without a pause."""

import signal
import sys

from tests.chaos import child

child.begin()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
child.ready()
while True:
    child.notifier.tell(WATCHDOG="1", STATUS="and another thing")
