"""Does all it should, for comparison."""

from tests.chaos import child

child.begin()
child.ready()
child.live()
