"""Claims to be ready in the name of its own child, which the launcher did not start."""

import subprocess
import sys

from tests.chaos import child

child.begin()
subprocess.run([sys.executable, "-c", "from bus.notify import Notifier; Notifier().tell(READY='1')"], check=True)
child.live()
