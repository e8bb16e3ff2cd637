"""Turns under faults drawn from a seed: a short run of what `make chaos` does at length."""

from __future__ import annotations

import pytest

from chaos.faults import plan
from chaos.judge import WRONGS
from chaos.report import as_json
from chaos.run import Task, run

SEED = 5
TURNS = 24


@pytest.mark.timeout(300)
def test_whatever_dies_or_hangs_each_utterance_is_heard_and_answered_once_and_in_order() -> None:
    outcome = run(Task(seed=SEED, turns=TURNS, faults=plan(SEED, TURNS, TURNS)))
    told = as_json(outcome, {})
    assert told["findings"] == [], told
    assert told["totals"] == dict.fromkeys(WRONGS, 0)
    assert told["turns"] == TURNS
    assert told["struck"] > TURNS * 2 / 3, told
    assert told["gaps"] == 0
