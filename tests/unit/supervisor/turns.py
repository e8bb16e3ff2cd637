"""Turns that are over, for the tests of what is shown of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from bus.messages.jobs import Attempt
from bus.messages.turn import PastAttempt, TurnRecord
from bus.timings import MARKS, PARTS, WAITED, attempts_ms, timings_ms

MS = 1_000_000
WALL_NS = 1_800_000_000 * 1_000_000_000
PARTS_MS = {
    "endpoint_wait": 600.0,
    "submit": 0.5,
    "stt_queue": 4.5,
    "transcribe": 200.0,
    "turn_wait": 2.0,
    "turn_logic": 0.1,
    "recall_wait": 1.9,
    "recall": 1.0,
    "llm_queue": 2.0,
    "first_token": 38.0,
    "first_clause": 30.0,
    "generate": 100.0,
    "closing": 5.0,
}
AHEAD_MS = {"transcribe_ahead": 160.0, "turn_wait_ahead": 40.0, "first_token_ahead": 50.0}
DONE_AHEAD_MS = {**dict.fromkeys(PARTS_MS, 0.0), "endpoint_wait": 300.0, "submit": 1.0, "release": 2.0, "generate": 100.0, **AHEAD_MS}
"""A turn of 403 ms, heard and partly answered before its end was decided, which was after 300 ms."""
STAGES = ("transcribe", "heard", "recall", "answer", "answered", "remember", "parked")
WORKERS = ("whisper-1", "whisper-2", "dialogue", "memory", "llm")


def record(**changed: Any) -> TurnRecord:
    """An answered turn of 985 ms with its first word after 850 ms; `parts` in the place of PARTS_MS."""
    parts = changed.pop("parts", PARTS_MS)
    first = {"total_to_first_token": sum(parts.get(name, 0.0) for name in WAITED)} if "first_token" in parts else {}
    total_ms = sum(parts.get(name, 0.0) for name in PARTS)
    fields: dict[str, Any] = {
        "turn": "hear-12ab34cd-480",
        "stream": "hear",
        "role": "plain",
        "state": "answered",
        "transcript": "What time is it?",
        "reply": "It is noon.",
        "wall_ns": WALL_NS,
        "timings_ms": {**parts, **first, "total": total_ms} if parts else {},
    }
    return TurnRecord(**fields | changed)


def attempt(stage: str, worker: str, begin_ms: float, end_ms: float, lost: str = "", *, number: int = 1) -> PastAttempt:
    return PastAttempt(stage=stage, worker=worker, number=number, begin_ms=begin_ms, end_ms=end_ms, lost=lost)


def _record_of(marks: dict[str, int], history: list[Attempt], wall_ns: int) -> TurnRecord:
    return record(parts={}, timings_ms=timings_ms(marks), attempts=attempts_ms(marks, history), wall_ns=wall_ns)


_TIMES_NS = st.integers(0, 10**11)
_ORDERED = st.lists(_TIMES_NS, min_size=len(MARKS), max_size=len(MARKS)).map(lambda times: dict(zip(MARKS, sorted(times), strict=True)))
_SOME_ORDERED = st.tuples(_ORDERED, st.sets(st.sampled_from(MARKS))).map(
    lambda drawn: {name: at_ns for name, at_ns in drawn[0].items() if name not in drawn[1]}
)
_ANY_ORDER = st.dictionaries(st.sampled_from(MARKS), _TIMES_NS)
_ATTEMPTS = st.builds(
    Attempt,
    stage=st.sampled_from(STAGES),
    worker=st.sampled_from(WORKERS),
    number=st.integers(1, 3),
    leased_ns=_TIMES_NS,
    ended_ns=_TIMES_NS,
    lost=st.sampled_from(["", "its worker died"]),
)
RECORDS = st.builds(
    _record_of, _SOME_ORDERED | _ANY_ORDER, st.lists(_ATTEMPTS, max_size=8), st.integers(WALL_NS, WALL_NS + 60 * 1_000_000_000)
)
"""Turns with marks in order or not, some missing, with any history."""
