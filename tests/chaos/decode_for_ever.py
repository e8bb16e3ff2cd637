"""The real Whisper worker, but the first utterance that is given to any of them is decoded for ever: `… NAME`."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from actors.__main__ import main
from actors.registry import ACTORS
from actors.whisper.actor import Whisper
from actors.whisper.guards import Judgement, Segment
from bus.jobs import Lease


class EndlessWhisper(Whisper):
    def _transcribe(self, lease: Lease, speech_ms: int) -> tuple[list[Segment], Judgement]:
        try:
            os.close(os.open(Path(os.environ["EARSHOT_STATE_DIR"], "hangs"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return super()._transcribe(lease, speech_ms)
        ctypes.CDLL(None).sleep(3600)
        raise AssertionError("an hour is for ever")


if __name__ == "__main__":
    ACTORS["whisper"] = "tests.chaos.decode_for_ever:EndlessWhisper"
    sys.exit(main(sys.argv[1:]))
