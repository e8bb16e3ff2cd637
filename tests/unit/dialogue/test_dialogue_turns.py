"""The turn manager's decisions: what is said, what comes next, and that every turn ends in one thing to remember."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.dialogue.turns import Manner, Step, manner, next_step, reply_tokens
from bus.errors import SetupError
from bus.messages.jobs import Answered, AnyWork, Heard, Parked, Recall, Remember, Transcribe
from bus.settings import DialogueSettings, Role

GUIDE = Manner(role="guide", system="You show people around.", max_tokens=384, reprompt="Pardon?", apology="Sorry!")

TEXT = st.text(max_size=40)
HEARD = st.builds(
    Heard,
    transcript=TEXT,
    doubtful=st.booleans(),
    rejected=st.sampled_from(["", "silence", "no-speech", "phantom", "repetition", "rate", "no-words"]),
    speech_ms=st.integers(0, 30_000),
)
PARKED = st.builds(
    Parked, failed_stage=st.sampled_from(["transcribe", "heard", "recall", "answer", "answered"]), reason=TEXT, transcript=TEXT
)


def heard(transcript: str = "", *, doubtful: bool = False, rejected: str = "", speech_ms: int = 3000) -> Step:
    return next_step(GUIDE, Heard(transcript=transcript, doubtful=doubtful, rejected=rejected, speech_ms=speech_ms))


def answered(reply: str, finish_reason: str = "stop") -> Step:
    return next_step(
        GUIDE, Answered(transcript="where am I", role="guide", reply=reply, finish_reason=finish_reason, model="/models/small")
    )


def remembered(step: Step) -> Remember:
    assert isinstance(step.then, Remember)
    return step.then


def test_a_question_goes_to_memory_with_the_role_in_use() -> None:
    assert heard("where am I") == Step("", Recall(transcript="where am I", role="guide", system="You show people around.", max_tokens=64))


def test_doubtful_words_are_asked_for_again() -> None:
    step = heard("where um eye", doubtful=True)
    assert step.say == "Pardon?"
    assert remembered(step) == Remember(role="guide", state="empty", transcript="where um eye", reply="Pardon?", detail="doubtful")


def test_words_that_the_transcriber_does_not_believe_are_asked_for_again() -> None:
    assert heard("go go go go go go", rejected="repetition").say == "Pardon?"


def test_long_speech_without_a_word_is_asked_for_again() -> None:
    step = heard("  ", speech_ms=1500)
    assert step.say == "Pardon?"
    assert remembered(step).state == "empty"


@pytest.mark.parametrize("reason", ["no-words", "repetition", "rate"])
def test_a_voice_that_gave_no_words_is_asked_again_when_it_spoke_for_long_enough(reason: str) -> None:
    assert heard("", rejected=reason, speech_ms=3000).say == "Pardon?"
    assert heard("", rejected=reason, speech_ms=900).say == ""


def test_a_turn_that_is_too_old_is_kept_as_unanswered_and_nothing_is_said() -> None:
    step = next_step(GUIDE, Parked(failed_stage="answer", reason="not running", transcript="where am I", aloud=False))
    assert step == Step("", Remember(role="guide", state="unanswered", transcript="where am I", reply="", detail="answer: not running"))


def test_a_cough_makes_the_assistant_say_nothing() -> None:
    step = heard("", speech_ms=900)
    assert step.say == ""
    assert remembered(step) == Remember(role="guide", state="empty", transcript="", reply="", detail="no words")


@pytest.mark.parametrize("reason", ["silence", "no-speech", "phantom"])
def test_noise_makes_the_assistant_say_nothing_however_long_it_lasts(reason: str) -> None:
    step = heard("", rejected=reason, speech_ms=20_000)
    assert step.say == ""
    assert remembered(step).detail == reason


def test_words_invented_on_noise_are_not_answered() -> None:
    assert heard("Thank you.", rejected="no-speech").say == ""


def test_an_answer_is_remembered() -> None:
    assert answered("In Rome.") == Step("", Remember(role="guide", state="answered", transcript="where am I", reply="In Rome.", detail=""))


def test_an_answer_that_was_cut_says_by_what() -> None:
    assert remembered(answered("In Ro", "length")).detail == "length"


def test_an_empty_answer_is_a_failure_with_an_apology() -> None:
    step = answered(" \n")
    assert step.say == "Sorry!"
    assert remembered(step).state == "failed"
    assert "/models/small gave an empty answer" in remembered(step).detail


def test_a_job_that_was_given_up_ends_in_an_apology_and_its_reason() -> None:
    step = next_step(GUIDE, Parked(failed_stage="answer", reason="no server", transcript="where am I"))
    assert step.say == "Sorry!"
    assert remembered(step) == Remember(role="guide", state="failed", transcript="where am I", reply="Sorry!", detail="answer: no server")


def test_when_memory_could_not_keep_a_turn_the_user_hears_no_apology_for_an_answer_that_came() -> None:
    assert next_step(GUIDE, Parked(failed_stage="remember", reason="disk full", transcript="where am I")) == Step("", None)


def test_a_job_of_another_stage_is_refused() -> None:
    with pytest.raises(TypeError, match="Transcribe"):
        next_step(GUIDE, Transcribe(first_sample=0, audio_ms=1000, speech_ms=900))


def test_a_short_question_gets_at_least_64_tokens_and_a_long_one_no_more_than_the_cap() -> None:
    assert reply_tokens("why", 256) == 64
    assert reply_tokens("word " * 20, 256) == 100
    assert reply_tokens("word " * 200, 256) == 256


def test_the_manner_is_that_of_the_configured_role() -> None:
    settings = DialogueSettings(role="coach", roles={"coach": Role(prompt="Push!", max_tokens=128)}, reprompt="What?", apology="Oh no.")
    assert manner(settings) == Manner(role="coach", system="Push!", max_tokens=128, reprompt="What?", apology="Oh no.")


def test_an_unknown_role_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(SetupError, match=r"'coahc'.*did you mean 'coach'\?"):
        manner(DialogueSettings(role="coahc", roles={"coach": Role(prompt="Push!"), "guide": Role(prompt="See!")}))


def test_an_unknown_role_that_is_like_none_is_told_with_those_that_there_are() -> None:
    with pytest.raises(SetupError, match="there are: coach, guide"):
        manner(DialogueSettings(role="pirate", roles={"guide": Role(prompt="See!"), "coach": Role(prompt="Push!")}))


@given(first=st.one_of(HEARD, PARKED), fate=st.data())
def test_every_turn_ends_in_exactly_one_remember(first: Heard | Parked, fate: st.DataObject) -> None:
    """Memory and model are played by `fate`: each either does its part or is given up."""
    work: AnyWork | None = first
    ends: list[Remember] = []
    jobs = 0
    while work is not None:
        jobs += 1
        assert jobs <= 3
        step = next_step(GUIDE, work)
        work = None
        if isinstance(step.then, Remember):
            ends.append(step.then)
            assert step.then.reply == (step.say or step.then.reply)
        else:
            assert isinstance(step.then, Recall)
            assert step.say == ""
            work = fate.draw(st.one_of(PARKED, st.builds(Answered, transcript=TEXT, role=TEXT, reply=TEXT, finish_reason=TEXT, model=TEXT)))
    assert len(ends) == 1


@given(HEARD)
def test_only_what_was_understood_reaches_the_model(work: Heard) -> None:
    asks_model = isinstance(next_step(GUIDE, work).then, Recall)
    assert asks_model == (bool(work.transcript.strip()) and not work.doubtful and not work.rejected)


@given(st.one_of(HEARD, PARKED))
def test_a_failed_or_empty_turn_is_remembered_with_what_was_said_about_it(work: Heard | Parked) -> None:
    step = next_step(GUIDE, work)
    if isinstance(step.then, Remember):
        assert step.then.reply == step.say
        assert step.then.detail
        assert step.then.state in {"empty", "failed"}


@given(TEXT, st.integers(64, 512))
def test_a_reply_is_never_longer_than_the_cap(transcript: str, cap: int) -> None:
    assert 64 <= reply_tokens(transcript, cap) <= cap
