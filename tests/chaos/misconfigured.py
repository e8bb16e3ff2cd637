"""Cannot work until the user puts something right, and says what."""

import os
import sys

from tests.chaos import child

child.begin()
child.notifier.tell(X_EARSHOT_REASON="there is no model here; set whisper.model")
sys.exit(os.EX_CONFIG)
