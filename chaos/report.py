"""The table of a run: for each actor and fault how often it was hit, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from bench.result import percentile
from chaos.faults import ACTORS, KILLS, MODEL_ACTORS, SOURCE, TAP, Fault, Kind
from chaos.judge import WRONGS, Finding
from chaos.run import Outcome
from chaos.striker import Strike

KINDS: tuple[Kind, ...] = (*KILLS, "pause", "hang")
RECOVERY_GOAL_MS = 500.0


def recovery_ms(strikes: Iterable[Strike]) -> list[float]:
    """How long they were away, those of which it is known."""
    return [strike.recovery_ms for strike in strikes if strike.recovery_ms is not None]


def promised(strikes: Iterable[Strike]) -> list[float]:
    """The recoveries of which something is promised: killed processes of the assistant that load no model."""
    return recovery_ms(s for s in strikes if s.fault.kind in KILLS and s.fault.actor not in (*MODEL_ACTORS, SOURCE, TAP))


def as_json(outcome: Outcome, about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the table says, and each finding."""
    return {
        **about,
        "turns": outcome.turns,
        "took_s": round(outcome.took_s, 1),
        "calm_s_per_turn": round(outcome.calm_s_per_turn, 3),
        "struck": len(outcome.strikes),
        "missed": len(outcome.missed),
        "recovery_p50_ms": _percentile(promised(outcome.strikes), 50),
        "totals": counts(outcome.findings),
        "gaps": outcome.events.get("audio.gap", 0),
        "actors": [
            {"actor": actor, "fault": kind, "times": len(found), "missed": missed, "recovered": len(times), **_percentiles(times)}
            for actor, kind, found, missed in _groups(outcome)
            for times in [recovery_ms(found)]
        ],
        "findings": [{"what": f.what, "stream": f.stream, "utterance": f.number, "detail": f.detail} for f in outcome.findings],
        "evidence": str(outcome.evidence or ""),
    }


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """How often each thing went wrong."""
    found = Counter(finding.what for finding in findings)
    return {what: found[what] for what in WRONGS}


def table(outcome: Outcome, frame: box.Box) -> Table:
    """One row for each actor and fault."""
    drawn = Table("Actor", "Fault", "Hit", "Missed", "Back", "p50 ms", "p99 ms", box=frame)
    for column in drawn.columns[2:]:
        column.justify = "right"
    for actor, kind, found, missed in _groups(outcome):
        times = recovery_ms(found)
        drawn.add_row(actor, kind, str(len(found)), str(missed or ""), str(len(times)), *(_ms(_percentile(times, p)) for p in (50, 99)))
    return drawn


def _groups(outcome: Outcome) -> Iterable[tuple[str, Kind, list[Strike], int]]:
    for actor in ACTORS:
        for kind in KINDS:
            found = [strike for strike in outcome.strikes if _is(strike.fault, actor, kind)]
            missed = sum(_is(fault, actor, kind) for fault in outcome.missed)
            if found or missed:
                yield actor, kind, found, missed


def _is(fault: Fault, actor: str, kind: Kind) -> bool:
    return fault.actor == actor and fault.kind == kind


def _percentiles(times: Sequence[float]) -> dict[str, float | None]:
    return {"p50_ms": _percentile(times, 50), "p99_ms": _percentile(times, 99)}


def _percentile(times: Sequence[float], percent: float) -> float | None:
    return round(percentile(times, percent), 1) if times else None


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
