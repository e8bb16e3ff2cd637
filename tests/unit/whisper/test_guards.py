"""What Whisper invents is not believed; what people say is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.whisper.guards import Judgement, Limits, Segment, judge_sound, judge_text

LIMITS = Limits(no_speech_prob=0.6, avg_logprob=-1.0, compression_ratio=2.4, min_rms_dbfs=-60.0, min_voice_prob=0.15)


def segment(text: str, avg_logprob: float = -0.3, no_speech_prob: float = 0.01, compression_ratio: float = 0.9) -> Segment:
    return Segment(text, avg_logprob, no_speech_prob, compression_ratio)


@pytest.mark.parametrize(
    ("rms_dbfs", "voice_prob", "why"),
    [(-20.0, 0.9, ""), (-70.0, 0.9, "silence"), (-20.0, 0.05, "no-speech"), (-59.0, 0.2, "")],
)
def test_sound_without_loudness_or_voice_is_not_given_to_the_model(rms_dbfs: float, voice_prob: float, why: str) -> None:
    assert judge_sound(rms_dbfs, voice_prob, LIMITS) == why


def test_a_sure_text_stands_as_it_is() -> None:
    assert judge_text([segment(" Turn on the light.")], 1500, LIMITS) == Judgement("Turn on the light.")


def test_segments_are_joined_with_one_space() -> None:
    assert judge_text([segment(" Hello."), segment(" My name is Anna.")], 3000, LIMITS).text == "Hello. My name is Anna."


def test_an_unsure_text_stands_but_is_doubtful() -> None:
    assert judge_text([segment("Turn on the fan", avg_logprob=-1.2)], 1500, LIMITS) == Judgement("Turn on the fan", doubtful=True)


def test_a_segment_that_the_model_itself_calls_no_speech_is_dropped() -> None:
    segments = [segment("Hello there."), segment("Amen.", avg_logprob=-1.5, no_speech_prob=0.9)]
    assert judge_text(segments, 1500, LIMITS) == Judgement("Hello there.")


@pytest.mark.parametrize("text", ["", "  ", "...", " - ", "♪"])
def test_a_text_without_a_word_is_no_words(text: str) -> None:
    assert judge_text([segment(text)] if text else [], 1500, LIMITS) == Judgement("", "no-words")


def test_a_loop_is_a_repetition() -> None:
    assert judge_text([segment("and then " * 40, compression_ratio=9.0)], 9000, LIMITS).rejected == "repetition"


def test_more_words_than_anybody_speaks_in_that_time_are_not_believed() -> None:
    assert judge_text([segment("I will see you in the next video my friends")], 400, LIMITS).rejected == "rate"


def test_few_words_are_not_judged_by_their_rate() -> None:
    assert judge_text([segment("Yes, stop that.")], 200, LIMITS).text == "Yes, stop that."


def test_the_known_inventions_need_a_sign_of_no_speech_to_be_rejected() -> None:
    assert judge_text([segment("Thank you.", no_speech_prob=0.4)], 900, LIMITS).rejected == "phantom"
    assert judge_text([segment("Thank you.", no_speech_prob=0.01)], 900, LIMITS).text == "Thank you."


@given(
    st.lists(st.builds(Segment, st.text(max_size=50), st.floats(-5, 0), st.floats(0, 1), st.floats(0.1, 10)), max_size=4),
    st.integers(0, 30_000),
)
def test_either_there_is_a_text_or_a_reason_why_not(segments: list[Segment], speech_ms: int) -> None:
    judgement = judge_text(segments, speech_ms, LIMITS)
    assert bool(judgement.text) != bool(judgement.rejected)
