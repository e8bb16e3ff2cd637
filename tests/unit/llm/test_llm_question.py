"""Which silence of the voice ends an answer that is still being made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from actors.llm.question import Question
from bus.messages.voice import StopCause, VoiceCut


def question(*, told: bool = True, ended: bool = False) -> Question:
    lease: Any = SimpleNamespace(ahead=False, ended=ended, reply_number=10_001, job=SimpleNamespace(turn="t1"))
    one = Question(lease, 0)
    one.shown_ns = 1 if told else None
    return one


def cut(attempt: int = 10_001, cause: StopCause = "user") -> VoiceCut:
    return VoiceCut(attempt=attempt, cause=cause, at_ns=1)


def test_a_user_who_spoke_into_it_has_heard_enough() -> None:
    assert question().is_cut_by("t1", cut())


@pytest.mark.parametrize("cause", ["newer", "trouble"])
def test_one_that_nobody_interrupted_goes_on(cause: StopCause) -> None:
    assert not question().is_cut_by("t1", cut(cause=cause))


def test_the_cut_of_another_one_is_not_about_it() -> None:
    assert not question().is_cut_by("t0", cut())
    assert not question().is_cut_by("t1", cut(10_002))


def test_of_which_nothing_was_told_or_which_is_over_cannot_be_cut() -> None:
    assert not question(told=False).is_cut_by("t1", cut())
    assert not question(ended=True).is_cut_by("t1", cut())
