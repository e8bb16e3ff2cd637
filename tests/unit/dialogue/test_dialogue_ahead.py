"""What the turn manager does ahead of time: only what nobody sees or hears, and not where more must come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.dialogue.ahead import may_go_on
from actors.dialogue.manner import Manner
from actors.dialogue.turns import Step, next_step
from actors.vad.endpoint import Verdict
from bus.messages.jobs import Answered, Heard, LookBack, LookedBack, Parked, Recall
from tests.unit.dialogue.talk import GUIDE, SPARK, WHERE

WHERE_AM_I = Heard(transcript="where am I", speech_ms=2000)
STEPS = {
    "ask the model": (next_step(GUIDE, WHERE_AM_I), True),
    "look back": (next_step(SPARK, WHERE_AM_I), True),
    "stop": (next_step(GUIDE, Heard(transcript="stop")), False),
    "ask back": (next_step(GUIDE, Heard(transcript="where am I", doubtful=True)), False),
    "say it again": (next_step(GUIDE, LookedBack(heard=Heard(transcript="repeat that"), addressed=True, last=None, answer="Rome.")), False),
    "ignore": (next_step(SPARK, LookedBack(heard=WHERE_AM_I, addressed=False, last=None, answer="")), False),
    "apologise": (next_step(GUIDE, Parked(failed_stage="answer", reason="")), False),
    "remember": (next_step(GUIDE, Answered(transcript="", role="", reply="Rome.", finish_reason="stop", model="")), False),
    "nothing": (Step("", None), False),
}


@pytest.mark.parametrize("name", STEPS)
def test_only_what_has_no_effect_outside_is_done_ahead_of_time(name: str) -> None:
    step, may = STEPS[name]
    assert may_go_on(step, Verdict.FINISHED, preemptive=True) == may


def test_words_after_which_more_must_come_wait_and_those_of_which_one_cannot_tell_do_not() -> None:
    assert not may_go_on(Step("", WHERE), Verdict.UNFINISHED, preemptive=True)
    assert may_go_on(Step("", WHERE), Verdict.UNSURE, preemptive=True)


def test_nothing_is_done_ahead_of_time_that_the_settings_forbid() -> None:
    assert not may_go_on(Step("", WHERE), Verdict.FINISHED, preemptive=False)


@given(
    st.sampled_from([GUIDE, SPARK]), st.text(max_size=40), st.booleans(), st.sampled_from(["", "silence", "rate"]), st.sampled_from(Verdict)
)
def test_whatever_was_heard_what_goes_on_says_nothing_and_keeps_nothing(
    manner: Manner, text: str, doubtful: bool, rejected: str, verdict: Verdict
) -> None:
    step = next_step(manner, Heard(transcript=text, doubtful=doubtful, rejected=rejected, speech_ms=3000))
    if may_go_on(step, verdict, preemptive=True):
        assert step.say == ""
        assert isinstance(step.then, Recall | LookBack)
