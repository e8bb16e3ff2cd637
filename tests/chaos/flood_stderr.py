"""Writes more than any pipe holds to standard error before it is ready."""

import sys

from tests.chaos import child

child.begin()
for _ in range(2000):
    sys.stderr.write("x" * 4095 + "\n")
child.ready()
child.live()
