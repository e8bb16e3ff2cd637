"""The real Whisper worker, but the first of them stops before it has loaded its model: `… NAME`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from actors.__main__ import main
from actors.actor import Runtime
from actors.registry import ACTORS
from actors.whisper.actor import Whisper


class StoppedWhisper(Whisper):
    def __init__(self, runtime: Runtime) -> None:
        try:
            os.close(os.open(Path(os.environ["EARSHOT_RUNTIME_DIR"], "stopped"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            super().__init__(runtime)
            return
        os.kill(os.getpid(), signal.SIGSTOP)
        threading.Event().wait()  # or it might go on while another thread writes the stacks


if __name__ == "__main__":
    ACTORS["whisper"] = "tests.chaos.stop_while_loading:StoppedWhisper"
    sys.exit(main(sys.argv[1:]))
