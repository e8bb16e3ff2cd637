"""The anatomy of a turn, pure: its parts in time, who had them, what was tried in vain, and what the first word waited for.

The critical path of a turn is what its first word waited for: what the speaker felt. A turn is one line of work, so each part up to
the first word is on it; the rest of the reply comes while the beginning is being read or heard. An attempt that was lost is on it
when the next one began only after it, and not when another worker had the job already.

What was done ahead, before the end of speech was decided, is no part of the wait: it lies beside the parts, where it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from bus.messages.turn import PastAttempt, TurnRecord
from bus.timings import AHEAD, PARTS, TOTAL, TOTAL_TO_FIRST_TOKEN, WAITED

ENDPOINT, HEARING, THINKING, FIRST_WORD, REST = "endpoint", "transcribe", "turn", "answer", "rest"
GROUPS: Final = {
    ENDPOINT: "silence",
    HEARING: "transcription",
    THINKING: "context",
    FIRST_WORD: "first word",
    REST: "rest",
}
"""The parts of a turn in five lots: silence waited out until the end of speech is decided, transcription, turn logic with the context
from memory, the model's first word, and the rest of the reply."""

SILENCE, QUEUE, WORK = "silence", "queue", "work"
"""Kinds of parts: waited out on purpose; on the way to a worker, or waiting for one to be free; a worker at it."""


@dataclass(frozen=True)
class _Sort:
    label: str
    group: str
    kind: str
    stages: tuple[str, ...]
    """The jobs that it can belong to: whoever had the first of these has the part."""
    actor: str
    """Who has it when no history says so."""


_SORTS: Final = {
    "endpoint_wait": _Sort("endpoint wait", ENDPOINT, SILENCE, (), "vad"),
    "submit": _Sort("hand over", HEARING, WORK, (), "vad"),
    "stt_queue": _Sort("wait for Whisper", HEARING, QUEUE, ("transcribe",), "whisper"),
    "transcribe": _Sort("transcribe", HEARING, WORK, ("transcribe",), "whisper"),
    "turn_wait": _Sort("wait for turn logic", THINKING, QUEUE, ("heard", "parked"), "dialogue"),
    "turn_logic": _Sort("turn logic", THINKING, WORK, ("heard", "parked"), "dialogue"),
    "recall_wait": _Sort("wait for memory", THINKING, QUEUE, ("recall",), "memory"),
    "recall": _Sort("find the context", THINKING, WORK, ("recall",), "memory"),
    "llm_queue": _Sort("wait for the model", FIRST_WORD, QUEUE, ("answer",), "llm"),
    "first_token": _Sort("first token", FIRST_WORD, WORK, ("answer", "parked", "heard"), "llm"),
    "release": _Sort("let out the words", FIRST_WORD, QUEUE, ("answer",), "llm"),
    "first_clause": _Sort("first clause", REST, WORK, ("answer", "parked", "heard"), "llm"),
    "first_sound": _Sort("first sound", REST, WORK, ("say",), "tts"),
    "generate": _Sort("rest of the reply", REST, WORK, ("answer", "parked", "heard"), "llm"),
    "speak": _Sort("speak", REST, WORK, (), "speaker"),
    "closing": _Sort("way to memory", REST, QUEUE, (), "memory"),
}
assert list(_SORTS) == list(PARTS), "every part is of a sort"


@dataclass(frozen=True)
class Ahead:
    """Work done ahead, in the time of the turn."""

    begin_ms: float
    duration_ms: float

    @property
    def end_ms(self) -> float:
        return round(self.begin_ms + self.duration_ms, 3)


@dataclass(frozen=True)
class Part:
    """A part of a turn. Times count from the first mark, which is the end of speech when that is known."""

    name: str
    """See `bus.timings.PARTS`."""
    label: str
    group: str
    kind: str
    actor: str
    begin_ms: float
    duration_ms: float
    critical: bool
    ahead: Ahead | None = None
    """The work of it that was done before the end of speech was decided. None for a queue: nobody waited in it."""

    @property
    def end_ms(self) -> float:
        return round(self.begin_ms + self.duration_ms, 3)


@dataclass(frozen=True)
class Trial:
    """An attempt at one of the turn's jobs, and whether the first word waited for it."""

    attempt: PastAttempt
    critical: bool


@dataclass(frozen=True)
class Anatomy:
    """A turn that is over, taken apart. The durations of `parts` add up to `total_ms`."""

    record: TurnRecord
    parts: tuple[Part, ...]
    trials: tuple[Trial, ...]
    total_ms: float
    first_word_ms: float | None
    """None when nothing was said."""

    @property
    def first_clause_ms(self) -> float | None:
        """When the first clause of the reply was there; None when that is not known."""
        return next((part.end_ms for part in self.parts if part.name == "first_clause"), None)

    @property
    def lost(self) -> list[Trial]:
        """What was tried in vain."""
        return [trial for trial in self.trials if trial.attempt.lost]

    @property
    def begin_wall_ns(self) -> int:
        """The wall-clock time of the first mark."""
        return self.record.wall_ns - round(self.total_ms * 1e6)

    @property
    def ahead_ms(self) -> float:
        """How long was worked ahead, all parts together."""
        return round(sum(part.ahead.duration_ms for part in self.parts if part.ahead is not None), 3)

    def group_ms(self, group: str) -> float:
        """What the parts of a group took together."""
        return round(sum(part.duration_ms for part in self.parts if part.group == group), 3)


def anatomy(record: TurnRecord) -> Anatomy:
    """Take a turn apart. Of a turn without marks there are no parts."""
    first_word_ms = record.timings_ms.get(TOTAL_TO_FIRST_TOKEN)
    ahead = _ahead(record)
    parts, begin_us = [], 0
    for name in PARTS:
        if name in record.timings_ms:
            critical = first_word_ms is None or name in WAITED
            parts.append(_part(record, name, begin_us, critical, ahead.get(name)))
            begin_us += round(record.timings_ms[name] * 1000)
    trials = tuple(Trial(attempt, _is_critical(attempt, record.attempts, first_word_ms)) for attempt in record.attempts)
    return Anatomy(record, tuple(parts), trials, record.timings_ms.get(TOTAL, 0.0), first_word_ms)


def _ahead(record: TurnRecord) -> dict[str, Ahead]:
    """The work done ahead, by part. One followed the other, and the last lasted until the end of speech was decided."""
    spent_us = {part: round(record.timings_ms.get(name, 0.0) * 1000) for part, name in AHEAD.items()}
    begin_us = max(0, round(record.timings_ms.get("endpoint_wait", 0.0) * 1000) - sum(spent_us.values()))
    found = {}
    for part, duration_us in spent_us.items():
        if duration_us and _SORTS[part].kind == WORK:
            found[part] = Ahead(begin_us / 1000, duration_us / 1000)
        begin_us += duration_us
    return found


def _part(record: TurnRecord, name: str, begin_us: int, critical: bool, ahead: Ahead | None) -> Part:
    sort = _SORTS[name]
    return Part(
        name=name,
        label=sort.label,
        group=sort.group,
        kind=sort.kind,
        actor=_actor(record, sort),
        begin_ms=begin_us / 1000,
        duration_ms=record.timings_ms[name],
        critical=critical,
        ahead=ahead,
    )


def _actor(record: TurnRecord, sort: _Sort) -> str:
    """Whose result was taken; else, who had it last."""
    for stage in sort.stages:
        done = [attempt.worker for attempt in record.attempts if attempt.stage == stage and not attempt.lost]
        if done:
            return done[-1]
    tried = [attempt.worker for attempt in record.attempts if attempt.stage in sort.stages]
    return tried[-1] if tried else sort.actor


def _is_critical(attempt: PastAttempt, attempts: Sequence[PastAttempt], first_word_ms: float | None) -> bool:
    if first_word_ms is not None and attempt.begin_ms >= first_word_ms:
        return False
    others = (other for other in attempts if other.stage == attempt.stage and not other.lost)
    return not attempt.lost or all(other.begin_ms >= attempt.end_ms for other in others)


def lost_within(found: Anatomy) -> dict[str, list[Trial]]:
    """What was tried in vain, by the part in which it began."""
    ends = [part.begin_ms for part in found.parts[1:]] + [math.inf]
    by_part: dict[str, list[Trial]] = {}
    for trial in found.lost:
        for part, end_ms in zip(found.parts, ends, strict=True):
            if trial.attempt.begin_ms < end_ms:
                by_part.setdefault(part.name, []).append(trial)
                break
    return by_part


def to_json(found: Anatomy, *, words: bool) -> dict[str, Any]:
    """The turn as one JSON object, described in docs/observing.md. With `words`, what was said is in it."""
    record = found.record
    said = {"transcript": record.transcript, "reply": record.reply} if words else {}
    parts = [
        {
            "part": part.name,
            "actor": part.actor,
            "kind": part.kind,
            "begin_ms": part.begin_ms,
            "duration_ms": part.duration_ms,
            "critical": part.critical,
            "ahead": None if part.ahead is None else {"begin_ms": part.ahead.begin_ms, "duration_ms": part.ahead.duration_ms},
        }
        for part in found.parts
    ]
    return {
        "turn": record.turn,
        "stream": record.stream,
        "state": record.state,
        "detail": record.detail,
        "over_wall_ns": record.wall_ns,
        "first_word_ms": found.first_word_ms,
        "first_clause_ms": found.first_clause_ms,
        "total_ms": found.total_ms,
        "parts": parts,
        "attempts": [{**msgspec.to_builtins(trial.attempt), "critical": trial.critical} for trial in found.trials],
        **said,
    }


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest of the values (at least one) that so many percent of them do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


# -- many turns in one picture ------------------------------------------------------------------------------------

GAP_MS: Final = 150.0
"""What is left of the time in which there was no turn."""


@dataclass(frozen=True)
class Placed:
    """A turn, and where in the picture it begins."""

    number: int
    """Counts from 1 among the turns of the picture."""
    anatomy: Anatomy
    begin_ms: float


def place(turns: Sequence[Anatomy], row_ms: float) -> list[list[Placed]]:
    """Place turns one after the other as they were spoken, the idle time between them cut, in rows of at most about `row_ms`.

    Turns that overlapped in time overlap as they did, and are in one row.
    """
    ordered = sorted(enumerate(turns, 1), key=lambda turn: turn[1].begin_wall_ns)
    rows: list[list[Placed]] = []
    end_ms, over_wall_ns = 0.0, 0
    for (number, found), before in zip(ordered, [None, *(turn for _, turn in ordered)], strict=False):
        if rows and before is not None and found.begin_wall_ns < over_wall_ns:
            begin_ms = rows[-1][-1].begin_ms + (found.begin_wall_ns - before.begin_wall_ns) / 1e6
        elif rows and end_ms + GAP_MS + found.total_ms <= row_ms:
            begin_ms = end_ms + GAP_MS
        else:
            rows.append([])
            begin_ms = end_ms = 0.0
        rows[-1].append(Placed(number, found, begin_ms))
        end_ms = max(end_ms, begin_ms + found.total_ms)
        over_wall_ns = max(over_wall_ns, found.record.wall_ns)
    return rows


def lanes(turns: Sequence[Anatomy]) -> list[str]:
    """The actors of these turns: in the order in which a turn comes by them, workers of one kind by name."""
    default = list(dict.fromkeys(sort.actor for sort in _SORTS.values()))
    named = {part.actor for found in turns for part in found.parts} | {one.worker for found in turns for one in found.record.attempts}

    def order(name: str) -> tuple[int, str]:
        kind = name.rpartition("-")[0] or name
        return (default.index(kind) if kind in default else len(default), name)

    return sorted(named, key=order)
