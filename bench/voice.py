"""How soon an answer is heard, and how soon it is silent when somebody speaks into it: whole turns, spoken at real pace, with the built-in
voice and a loudspeaker that only takes its time."""

from __future__ import annotations

from bench import barge_in
from bench.instance import BenchError, assistant
from bench.result import Result, at_most, percentile
from bench.turns import hear
from bus.timings import PARTS

GOAL_MS = 150.0
UNTIL_SOUND = tuple(PARTS)[: tuple(PARTS).index("first_sound") + 1]


def measure() -> list[Result]:
    """From the first clause to the first sample, and from the end of speech to it; then from speech to silence."""
    with assistant("tts.engine=espeak", "speaker.output=none") as running:
        turns = [turn["timings_ms"] for turn in hear(running) if "first_sound" in turn["timings_ms"]]
    if not turns:
        raise BenchError("no turn was spoken")
    sounds_ms = [timings["first_sound"] for timings in turns]
    waits_ms = [sum(timings.get(part, 0.0) for part in UNTIL_SOUND) for timings in turns]
    about = f"from the first clause of the reply until it is heard, in {len(turns)} turns; the delay of a real device comes on top of it"
    return [
        at_most(GOAL_MS, name="first sound p50", value=percentile(sounds_ms, 50), unit="ms", meaning=about),
        at_most(GOAL_MS, name="first sound p99", value=percentile(sounds_ms, 99), unit="ms", meaning=""),
        Result(name="aloud p50", value=percentile(waits_ms, 50), unit="ms", meaning="from the end of speech until the answer is heard"),
        *barge_in.measure(),
    ]
