"""The turn manager's decisions: what is said, what comes next, and that every turn ends in one thing to remember."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.dialogue.manner import Manner, manner
from actors.dialogue.turns import Step, next_step, reply_tokens
from bus.errors import SetupError
from bus.messages.jobs import Answered, AnyWork, Heard, LookBack, LookedBack, Parked, Recall, Remember, Transcribe
from bus.messages.turn import LastTurn
from bus.settings import DialogueSettings, Role
from bus.texts import Phrases, Texts
from tests.unit.dialogue.talk import GUIDE, SPARK, WHERE, remembered

TEXT = st.text(max_size=40)
HEARD = st.builds(
    Heard,
    transcript=TEXT,
    doubtful=st.booleans(),
    rejected=st.sampled_from(["", "silence", "no-speech", "phantom", "repetition", "rate", "no-words"]),
    speech_ms=st.integers(0, 30_000),
)
STAGES = ["transcribe", "heard", "look-back", "looked-back", "recall", "answer", "answered"]
PARKED = st.builds(Parked, failed_stage=st.sampled_from(STAGES), reason=TEXT, transcript=TEXT)
SAID = st.one_of(TEXT, st.sampled_from(["yes", "No.", "Stop!", "say that again", "Hey Spark.", "Hay spark, where am I", "where am I"]))
SPOKEN = st.builds(
    Heard, transcript=SAID, doubtful=st.booleans(), rejected=st.sampled_from(["", "silence"]), speech_ms=st.integers(0, 9000)
)
LAST = st.builds(
    LastTurn, state=st.sampled_from(["answered", "confirming", "handled"]), transcript=TEXT, spoke=st.booleans(), quiet_ms=st.floats(0, 1e5)
)
MANNERS = st.sampled_from([GUIDE, SPARK])


def heard(transcript: str = "", *, doubtful: bool = False, rejected: str = "", speech_ms: int = 3000) -> Step:
    return next_step(GUIDE, Heard(transcript=transcript, doubtful=doubtful, rejected=rejected, speech_ms=speech_ms))


def answered(reply: str, finish_reason: str = "stop") -> Step:
    return next_step(
        GUIDE, Answered(transcript="where am I", role="guide", reply=reply, finish_reason=finish_reason, model="/models/small")
    )


def test_a_question_goes_to_memory_with_the_role_in_use() -> None:
    assert heard("where am I") == Step("", WHERE)


def test_doubtful_words_are_asked_about_and_kept_until_that_is_answered() -> None:
    step = heard("Where um eye?", doubtful=True)
    assert step.say == "Was it Where um eye?"
    assert remembered(step) == Remember(
        role="guide", state="confirming", transcript="Where um eye?", reply="Was it Where um eye?", detail="doubtful"
    )


def test_many_doubtful_words_are_not_read_back() -> None:
    step = heard("where " * 16, doubtful=True)
    assert step.say == "Pardon?"
    assert remembered(step).state == "empty"


def test_without_a_text_for_doubtful_words_they_are_asked_for_again() -> None:
    step = next_step(GUIDE._replace(texts=Texts(reprompt="Pardon?", confirm="")), Heard(transcript="where um eye", doubtful=True))
    assert step == Step("Pardon?", Remember(role="guide", state="empty", transcript="where um eye", reply="Pardon?", detail="doubtful"))


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
    assert step.say == "No model!"
    assert remembered(step) == Remember(
        role="guide", state="failed", transcript="where am I", reply="No model!", detail="answer: no server"
    )


def test_a_fault_that_is_not_the_models_is_not_laid_at_its_door() -> None:
    assert next_step(GUIDE, Parked(failed_stage="recall", reason="died", transcript="where am I")).say == "Sorry!"


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
    settings = DialogueSettings(role="coach", roles={"coach": Role(prompt="Push!", max_tokens=128)}, wake=("hey coach",), follow_up_s=5)
    assert manner(settings, "en") == Manner(role="coach", system="Push!", max_tokens=128, wake=("hey coach",), follow_up_ms=5000)


@pytest.mark.parametrize(("language", "told"), [("de", "Wie bitte?"), ("nl", "Hm?"), ("", "Hm?")])
def test_texts_and_phrases_are_those_of_the_language_or_else_english(language: str, told: str) -> None:
    texts = {"en": Texts(reprompt="Hm?"), "de": Texts(reprompt="Wie bitte?")}
    phrases = {"en": Phrases(stop=("Hm?",)), "de": Phrases(stop=("Wie bitte?",))}
    found = manner(DialogueSettings(role="coach", roles={"coach": Role(prompt="Push!")}, texts=texts, phrases=phrases), language)
    assert (found.texts.reprompt, found.phrases.stop) == (told, (told,))


def test_where_no_language_is_configured_it_is_english() -> None:
    found = manner(DialogueSettings(role="coach", roles={"coach": Role(prompt="Push!")}), "de")
    assert (found.texts, found.phrases) == (Texts(), Phrases())


def test_an_unknown_role_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(SetupError, match=r"'coahc'.*did you mean 'coach'\?"):
        manner(DialogueSettings(role="coahc", roles={"coach": Role(prompt="Push!"), "guide": Role(prompt="See!")}), "en")


def test_an_unknown_role_that_is_like_none_is_told_with_those_that_there_are() -> None:
    with pytest.raises(SetupError, match="there are: coach, guide"):
        manner(DialogueSettings(role="pirate", roles={"guide": Role(prompt="See!"), "coach": Role(prompt="Push!")}), "en")


@given(manner=MANNERS, first=st.one_of(SPOKEN, HEARD, PARKED), fate=st.data())
def test_every_turn_ends_in_exactly_one_remember(manner: Manner, first: Heard | Parked, fate: st.DataObject) -> None:
    """Memory and model are played by `fate`: each either does its part or is given up."""
    work: AnyWork | None = first
    ends: list[Remember] = []
    jobs = 0
    while work is not None:
        jobs += 1
        assert jobs <= 4
        step = next_step(manner, work)
        work = None
        match step.then:
            case Remember() as end:
                ends.append(end)
                assert end.reply == (step.say or end.reply)
            case LookBack(heard=heard, addressed=addressed):
                assert step.say == ""
                found = st.builds(LookedBack, heard=st.just(heard), addressed=st.just(addressed), last=st.none() | LAST, answer=TEXT)
                work = fate.draw(st.one_of(PARKED, found))
            case Recall():
                assert step.say == ""
                answered = st.builds(Answered, transcript=TEXT, role=TEXT, reply=TEXT, finish_reason=TEXT, model=TEXT)
                work = fate.draw(st.one_of(PARKED, answered))
    assert len(ends) == 1


@given(HEARD)
def test_only_what_was_understood_reaches_the_model(work: Heard) -> None:
    asks_model = isinstance(next_step(GUIDE, work).then, Recall)
    assert asks_model == (bool(work.transcript.strip()) and not work.doubtful and not work.rejected)


@given(MANNERS, st.one_of(HEARD, SPOKEN, PARKED))
def test_a_turn_that_ends_early_is_remembered_with_what_was_said_about_it_and_why(manner: Manner, work: Heard | Parked) -> None:
    step = next_step(manner, work)
    if isinstance(step.then, Remember):
        assert step.then.reply == step.say
        assert step.then.detail
        assert step.then.state in {"empty", "failed", "confirming", "handled", "ignored"}


@given(SPOKEN, st.none() | LAST, TEXT)
def test_what_is_ignored_leaves_no_words_and_is_met_with_silence(work: Heard, last: LastTurn | None, answer: str) -> None:
    for step in (next_step(SPARK, work), next_step(SPARK, LookedBack(heard=work, addressed=False, last=last, answer=answer))):
        if isinstance(step.then, Remember) and step.then.state == "ignored":
            assert (step.say, step.then.transcript, step.then.reply) == ("", "", "")


@given(SPOKEN, st.none() | LAST, TEXT)
def test_nothing_is_ignored_that_is_known_to_be_for_the_assistant(work: Heard, last: LastTurn | None, answer: str) -> None:
    for step in (
        next_step(GUIDE, work),
        next_step(SPARK, work, woken=True),
        next_step(SPARK, LookedBack(heard=work, addressed=True, last=last, answer=answer)),
    ):
        assert not isinstance(step.then, Remember) or step.then.state != "ignored"


@given(SPOKEN, LAST, TEXT)
def test_soon_after_the_assistant_has_spoken_nothing_is_ignored(work: Heard, last: LastTurn, answer: str) -> None:
    if last.spoke and last.quiet_ms < 8000:
        step = next_step(SPARK, LookedBack(heard=work, addressed=False, last=last, answer=answer))
        assert not isinstance(step.then, Remember) or step.then.state != "ignored"


@given(TEXT, st.integers(64, 512))
def test_a_reply_is_never_longer_than_the_cap(transcript: str, cap: int) -> None:
    assert 64 <= reply_tokens(transcript, cap) <= cap
