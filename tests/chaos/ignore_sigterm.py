"""Does all it should, but does not stop."""

import signal
import time

from tests.chaos import child

child.begin()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child.ready()
while True:
    child.notifier.tell(WATCHDOG="1")
    time.sleep(0.05)
