"""Is ready, and then never gives the interpreter's lock back, in its first life."""

import ctypes

from tests.chaos import child


def sleep_in_native_code() -> None:
    ctypes.PyDLL(None).sleep(3600)


life = child.begin()
child.ready()
if life == 1:
    sleep_in_native_code()
child.live()
