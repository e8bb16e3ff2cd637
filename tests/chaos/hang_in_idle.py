"""Is ready, and then waits for a lock for ever, in its first life."""

import threading

from tests.chaos import child


def wait_for_a_lock_that_nobody_gives_back() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


life = child.begin()
child.ready()
if life == 1:
    wait_for_a_lock_that_nobody_gives_back()
child.live()
