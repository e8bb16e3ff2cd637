"""Is ready and crashes, in its first two lives; the third is a good one."""

import os
import signal

from tests.chaos import child

life = child.begin()
child.ready()
if life <= 2:
    os.kill(os.getpid(), signal.SIGKILL)
child.live()
