"""Stands in for Piper: a line of text on standard input, raw PCM on standard output. Arguments make it misbehave."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fakes.voice_server import sound_of

if "--fail-at-once" in sys.argv:
    sys.exit(3)
line = sys.stdin.readline().strip()
if line:
    if "--hang" in sys.argv and line != "One.":
        time.sleep(60)
    pcm = sound_of(line)
    sys.stdout.buffer.write(pcm[:3_001])  # in the middle of a sample
    sys.stdout.buffer.flush()
    sys.stdout.buffer.write(pcm[3_001:])
    if "--die" in sys.argv and line != "One.":
        sys.exit(4)
