"""What the assistant does without the model: who is addressed, what is asked back, what is said again."""

from __future__ import annotations

import pytest

from actors.dialogue.manner import Manner
from actors.dialogue.phrases import Command
from actors.dialogue.turns import Step, next_step
from bus.messages.jobs import Heard, LookBack, LookedBack, Parked, Recall, Remember
from bus.messages.turn import LastTurn
from tests.unit.dialogue.talk import DOUBTED, GUIDE, SPARK, WHERE, remembered

ANSWERED = LastTurn(state="answered", transcript="", spoke=True, quiet_ms=3000)
LONG_AGO = LastTurn(state="answered", transcript="", spoke=True, quiet_ms=8000)
STOPPED = LastTurn(state="handled", transcript="stop", spoke=False, quiet_ms=100)
IGNORED = Remember(role="guide", state="ignored", transcript="", reply="", detail="no wake phrase")


def said(transcript: str, *, doubtful: bool = False, rejected: str = "", speech_ms: int = 2000) -> Heard:
    return Heard(transcript=transcript, doubtful=doubtful, rejected=rejected, speech_ms=speech_ms)


def after(last: LastTurn | None, heard: Heard, *, addressed: bool = True, answer: str = "") -> Step:
    return next_step(SPARK, LookedBack(heard=heard, addressed=addressed, last=last, answer=answer))


# Who is addressed


def test_the_wake_phrase_makes_a_question_of_what_follows_it() -> None:
    assert next_step(SPARK, said("Hay Spark, where am I")) == Step("", WHERE)


def test_the_wake_phrase_alone_is_acknowledged_without_the_model() -> None:
    step = next_step(SPARK, said("Hey Spark.", doubtful=True))
    assert step == Step("Yes?", Remember(role="guide", state="handled", transcript="Hey Spark.", reply="Yes?", detail="wake"))


@pytest.mark.parametrize(
    "heard", [said("where am I"), said("where um eye", doubtful=True), said("stop"), said("", speech_ms=3000), said("", rejected="rate")]
)
def test_without_the_wake_phrase_it_hangs_on_what_came_before(heard: Heard) -> None:
    assert next_step(SPARK, heard) == Step("", LookBack(heard=heard, addressed=False))


@pytest.mark.parametrize("heard", [said("", speech_ms=800), said("", rejected="silence"), said("Thank you.", rejected="phantom")])
def test_noise_without_the_wake_phrase_is_ignored_at_once(heard: Heard) -> None:
    step = next_step(SPARK, heard)
    assert step == Step("", Remember(role="guide", state="ignored", transcript="", reply="", detail="nobody spoke"))


@pytest.mark.parametrize("manner", [SPARK, GUIDE])
def test_the_assistants_own_words_heard_back_are_not_answered_whatever_they_are(manner: Manner) -> None:
    step = next_step(manner, said("Hey Spark, where am I"), woken=True, echo=True)
    assert step == Step("", Remember(role="guide", state="ignored", transcript="", reply="", detail="its own voice"))


@pytest.mark.parametrize("last", [None, LONG_AGO, STOPPED])
def test_what_is_not_for_the_assistant_leaves_nothing(last: LastTurn | None) -> None:
    assert after(last, said("where am I"), addressed=False) == Step("", IGNORED)
    assert after(last, said("", speech_ms=5000), addressed=False) == Step("", IGNORED)
    assert after(last, said("stop"), addressed=False) == Step("", IGNORED)


def test_soon_after_an_answer_no_wake_phrase_is_needed() -> None:
    assert after(ANSWERED, said("where am I"), addressed=False) == Step("", WHERE)
    assert after(ANSWERED, said("", speech_ms=5000), addressed=False).say == "Pardon?"


def test_without_a_follow_up_window_each_question_needs_the_wake_phrase() -> None:
    strict = SPARK._replace(follow_up_ms=0)
    assert next_step(strict, LookedBack(heard=said("where am I"), addressed=False, last=ANSWERED, answer="")) == Step("", IGNORED)


def test_who_was_woken_by_a_detector_needs_no_phrase() -> None:
    assert next_step(SPARK, said("where am I"), woken=True) == Step("", WHERE)


def test_doubtful_words_behind_the_wake_phrase_are_asked_about_without_it() -> None:
    assert next_step(SPARK, said("Hey Spark, where um eye", doubtful=True)).say == "Was it where um eye?"


def test_a_detector_may_be_heard_as_late_as_when_memory_has_been_asked() -> None:
    work = LookedBack(heard=said("where am I"), addressed=False, last=None, answer="")
    assert next_step(SPARK, work, woken=True) == Step("", WHERE)


# Commands


@pytest.mark.parametrize("words", ["Stop.", "cancel", "Never mind."])
def test_stop_is_handled_in_silence_and_told_as_a_command(words: str) -> None:
    step = next_step(GUIDE, said(words))
    assert step == Step("", Remember(role="guide", state="handled", transcript=words, reply="", detail="stop"), Command.STOP)


def test_stop_behind_the_wake_phrase_or_soon_after_an_answer_is_a_command_too() -> None:
    assert next_step(SPARK, said("Hey Spark, stop")).command is Command.STOP
    assert after(ANSWERED, said("stop"), addressed=False).command is Command.STOP


def test_a_command_in_a_sentence_is_a_question() -> None:
    assert isinstance(next_step(GUIDE, said("stop the music")).then, Recall)


def test_say_that_again_is_answered_from_memory() -> None:
    heard = said("Say that again.")
    assert next_step(GUIDE, heard) == Step("", LookBack(heard=heard, addressed=True))
    step = after(ANSWERED, heard, answer="In Rome.")
    assert (step.say, step.command) == ("In Rome.", Command.REPEAT)
    assert remembered(step) == Remember(role="guide", state="handled", transcript="Say that again.", reply="In Rome.", detail="repeat")


def test_say_that_again_before_any_answer_is_met_with_a_text() -> None:
    assert after(None, said("say that again")).say == "Not a word yet."


def test_say_that_again_repeats_a_question_about_doubtful_words_and_keeps_it_open() -> None:
    step = after(DOUBTED, said("say that again"), answer="In Rome.")
    assert step.say == "Was it where am I?"
    assert (remembered(step).state, remembered(step).transcript) == ("confirming", "where am I")


# Doubtful words


@pytest.mark.parametrize("words", ["yes", "no"])
def test_yes_and_no_hang_on_what_came_before(words: str) -> None:
    assert next_step(GUIDE, said(words)) == Step("", LookBack(heard=said(words), addressed=True))


def test_yes_has_the_doubtful_words_answered() -> None:
    assert after(DOUBTED, said("Yes.", doubtful=True)) == Step("", WHERE, Command.YES)


def test_no_drops_them() -> None:
    step = after(DOUBTED, said("No."))
    assert step == Step("Fine.", Remember(role="guide", state="handled", transcript="No.", reply="Fine.", detail="no"), Command.NO)


def test_anything_else_is_a_new_question() -> None:
    assert next_step(GUIDE, said("where am I")) == Step("", WHERE)
    assert after(DOUBTED, said("where am I"), addressed=False) == Step("", WHERE)


def test_yes_answers_the_assistant_without_the_wake_phrase_for_longer_than_other_words() -> None:
    late = LastTurn(state="confirming", transcript="where am I", spoke=True, quiet_ms=20_000)
    assert after(late, said("yes"), addressed=False) == Step("", WHERE, Command.YES)
    assert after(late, said("and then"), addressed=False) == Step("", IGNORED)


@pytest.mark.parametrize("last", [None, ANSWERED, LastTurn(state="confirming", transcript="x", spoke=True, quiet_ms=30_001)])
def test_a_yes_that_answers_none_of_our_questions_is_for_the_model(last: LastTurn | None) -> None:
    then = after(last, said("yes")).then
    assert isinstance(then, Recall)
    assert then.transcript == "yes"


# What was given up before it was known for whom it was


@pytest.mark.parametrize("stage", ["heard", "look-back", "looked-back"])
def test_words_that_may_not_have_been_for_the_assistant_are_not_kept_when_their_turn_is_given_up(stage: str) -> None:
    step = next_step(SPARK, Parked(failed_stage=stage, reason="died", transcript="between us"))
    assert remembered(step).transcript == ""
    assert remembered(step).state == "failed"
    assert remembered(next_step(SPARK, Parked(failed_stage=stage, reason="died", transcript="hey spark where am I"))).transcript
    assert remembered(next_step(SPARK, Parked(failed_stage="answer", reason="died", transcript="where am I"))).transcript
    assert remembered(next_step(GUIDE, Parked(failed_stage=stage, reason="died", transcript="where am I"))).transcript
