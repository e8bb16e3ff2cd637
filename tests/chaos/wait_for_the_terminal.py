"""Writes to a terminal that is being held, as with Ctrl+S, and so is silent for ever."""

import sys

from tests.chaos import child

child.begin()
child.ready()
while True:
    sys.stdout.write("x" * 4095 + "\n")
