"""Starts a process of its own and crashes."""

import os
import subprocess
import sys
from pathlib import Path

from tests.chaos import child

child.begin()
grandchild = subprocess.Popen(["sleep", "3600"])
Path(os.environ["EARSHOT_STATE_DIR"], "grandchild").write_text(str(grandchild.pid))
sys.exit(os.EX_CONFIG)
