"""Never says a word, in its first life."""

import time

from tests.chaos import child

if child.begin() == 1:
    time.sleep(3600)
child.ready()
child.live()
