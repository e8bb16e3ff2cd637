"""Is ready, and then stopped by SIGSTOP, in its first life."""

import os
import signal

from tests.chaos import child

life = child.begin()
child.ready()
if life == 1:
    os.kill(os.getpid(), signal.SIGSTOP)
child.live()
