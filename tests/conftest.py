"""What holds for every test."""

from __future__ import annotations

import signal

from hypothesis import settings

# A shell starts what it runs in the background with Ctrl+C ignored, `nohup` with the end of the terminal, and so would we and all that we
# start: our tests press the one and close the other.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Property tests have no time limit for each example: how long one takes says something about the machine, not about the program.
settings.register_profile("earshot", deadline=None)
settings.load_profile("earshot")
