"""Which process is hit how, and at which moment of which turn: drawn from a seed, and from nothing else. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["SIGKILL", "SIGSEGV", "SIGTERM", "pause", "hang"]
"""`pause` is SIGSTOP and, a while later, SIGCONT; `hang` is SIGSTOP for ever."""

KILLS: Final[tuple[Kind, ...]] = ("SIGKILL", "SIGSEGV", "SIGTERM")
LAUNCHER: Final = "launcher"
SOURCE: Final = "source"
"""The microphone process of one `supervisor hear`."""
TAP: Final = "tap"
CONSOLE: Final = "console"
ACTORS: Final = (
    *("broker", "dispatcher", "vad", "whisper-1", "whisper-2", "dialogue", "memory", "llm", "rehearsal-llm", "tts", "speaker", "recorder"),
    *(SOURCE, CONSOLE, TAP, LAUNCHER),
)
MODEL_ACTORS: Final = ("whisper-1", "whisper-2")
"""They load a model before they are ready, so nothing is promised of how soon that is."""

STAGES: Final = ("transcribe", "heard", "recall", "answer", "answered", "say", "remember")
MOMENTS: Final = (
    *("speech.started", "speech.ended", "transcript.final", "reply.started", "reply.delta", "reply.finished", "turn.finished"),
    *("voice.started", "voice.finished"),
    "transcribe submitted",
    *(f"{stage} {state}" for stage in STAGES for state in ("leased", "done")),
    *(f"{stage} {state}" for stage in STAGES[:4] for state in ("ahead", "committed")),
)
"""An event of a turn, or one of its jobs changing hands."""

SOURCE_MOMENTS: Final = ("speech.started", "speech.ended", "transcribe submitted", "transcribe leased")
"""A source is through long before the turns that came of it."""

LONGEST_DELAY_MS: Final = 50
SHORTEST_PAUSE_MS: Final = 50
LONGEST_PAUSE_MS: Final = 1500
"""Shorter than `launcher.watchdog_s`: a pause is to be sat out."""
CLEAR_TURNS: Final = 16
"""At the end of a run no more faults are drawn, so that those before find their moment."""
_WEIGHTS: Final[dict[Kind, int]] = {"SIGKILL": 8, "SIGSEGV": 3, "SIGTERM": 3, "pause": 4, "hang": 2}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. It strikes `delay_ms` after the first `moment` of turn `turn`, or of a later one where that event went unheard: the
    broker may be down just then, or the process to be hit."""

    number: int
    turn: int
    moment: str
    actor: str
    kind: Kind
    delay_ms: float
    pause_ms: int = 0


def kinds_for(actor: str) -> tuple[Kind, ...]:
    """What may be done to an actor.

    Nobody watches the beat of a tap or of the console: a terminal may be held for as long as its user likes. Nor, without systemd, that
    of the launcher; when it dies everything dies, and the run starts it again as its user would.
    """
    if actor in (TAP, CONSOLE, LAUNCHER):
        return (*KILLS, "pause")
    return (*KILLS, "pause", "hang")


def plan(seed: int, turns: int, count: int) -> tuple[Fault, ...]:
    """Draw `count` faults for the turns 0 to `turns` - 1, in the order of these. The same arguments give the same faults."""
    chance = random.Random(seed)
    starts = sorted(chance.randrange(max(1, turns - CLEAR_TURNS)) for _ in range(count))
    return tuple(_fault(chance, number, turn) for number, turn in enumerate(starts))


def _fault(chance: random.Random, number: int, turn: int) -> Fault:
    actor = chance.choices(ACTORS, [1 if actor == LAUNCHER else 4 for actor in ACTORS])[0]  # a new start of everything costs seconds
    kinds = kinds_for(actor)
    kind = chance.choices(kinds, [_WEIGHTS[kind] for kind in kinds])[0]
    return Fault(
        number=number,
        turn=turn,
        moment=chance.choice(SOURCE_MOMENTS if actor == SOURCE else MOMENTS),
        actor=actor,
        kind=kind,
        delay_ms=round(chance.uniform(0, LONGEST_DELAY_MS), 1),
        pause_ms=chance.randint(SHORTEST_PAUSE_MS, LONGEST_PAUSE_MS) if kind == "pause" else 0,
    )
