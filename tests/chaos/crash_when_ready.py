"""Is ready and crashes, in every life."""

import sys

from tests.chaos import child

child.begin()
child.ready()
sys.exit(3)
