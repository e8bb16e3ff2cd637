"""How long a pause may last: the judge of English words against its table of examples, and the policy."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.vad.endpoint import Policy, SilenceLimits, Verdict, Words, agreed
from actors.vad.english import OPEN_MARKS, judge

EXAMPLES: dict[str, list[str]] = tomllib.loads((Path(__file__).parents[2] / "data" / "endpoint" / "english.toml").read_text())
LIMITS = SilenceLimits(finished_ms=240, fixed_ms=600, unfinished_ms=1200)
F, U, N = Verdict.FINISHED, Verdict.UNFINISHED, Verdict.UNSURE


@pytest.mark.parametrize("text", EXAMPLES["finished"])
def test_a_sentence_that_is_over_is_finished(text: str) -> None:
    assert judge(text) is F


@pytest.mark.parametrize("text", EXAMPLES["unfinished"])
def test_a_sentence_that_wants_more_is_unfinished(text: str) -> None:
    assert judge(text) is U


@pytest.mark.parametrize("text", EXAMPLES["unsure"])
def test_of_words_that_may_be_either_nothing_is_said(text: str) -> None:
    assert judge(text) is N


@pytest.mark.parametrize("text", EXAMPLES["deceiving"])
def test_words_that_read_as_over_are_taken_for_it_whatever_was_meant(text: str) -> None:
    assert judge(text) is F


@pytest.mark.parametrize("text", [text for text in EXAMPLES["finished"] + EXAMPLES["unfinished"] if not text.endswith(OPEN_MARKS)])
def test_a_full_stop_proves_nothing(text: str) -> None:
    bare = text.rstrip(".?!")
    assert judge(bare) is judge(bare + ".") is judge(text)


def test_at_most_one_in_ten_hesitations_is_taken_for_the_end_and_nearly_every_end_is() -> None:
    pauses, ends = [], []
    for line in EXAMPLES["hesitating"]:
        pieces = [piece.strip() for piece in line.split("|")]
        ends.append(judge(" ".join(pieces)))
        pauses += [judge(" ".join(pieces[:count]) + ".") for count in range(1, len(pieces))]
    assert len(pauses) > 70
    assert pauses.count(F) <= 0.1 * len(pauses)
    assert ends.count(F) >= 0.95 * len(ends)


@given(
    text=st.text(max_size=80)
    | st.lists(st.sampled_from(["the", "a", "set", "timer", "is", "you", "what", "7", "o'clock", ".", ",", "please", "don't"])).map(
        " ".join
    )
)
def test_any_text_gets_a_verdict(text: str) -> None:
    assert judge(text) in Verdict


def test_of_another_language_nothing_is_known() -> None:
    for language in ("de", ""):
        assert Words(language).by_words("Turn on the") is N
    assert Words("en").by_words("Turn on the") is U


def test_those_who_are_sure_decide_unless_they_contradict_each_other() -> None:
    assert agreed() is agreed(N) is agreed(F, U) is agreed(F, U, N) is N
    assert agreed(F, N) is agreed(F, F) is F
    assert agreed(N, U) is U


class Sound:
    """Judges every sound alike."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict

    def by_words(self, text: str) -> Verdict:
        return N

    def by_sound(self, pcm: bytes) -> Verdict:
        return self._verdict


def test_without_words_the_fixed_limit_holds_and_with_them_their_own() -> None:
    policy = Policy(LIMITS, (Words("en"),))
    assert policy.paused(b"") == 600
    assert policy.read("Turn on the kitchen light.") == 240
    assert policy.read("Turn on the.") == 1200
    assert policy.read("Anna.") == 600
    assert policy.read("Turn on the kitchen light.", avg_logprob=-0.7) == 600


def test_the_sound_is_heard_first_and_the_words_may_contradict_it() -> None:
    policy = Policy(LIMITS, (Words("en"), Sound(F)))
    assert policy.paused(b"") == 240
    assert policy.read("Turn on the kitchen light.") == policy.read("Anna.") == 240
    assert policy.read("Turn on the.") == 600


def test_limits_that_are_not_in_order_are_refused() -> None:
    for limits in ((0, 600, 1200), (700, 600, 1200), (240, 600, 500)):
        with pytest.raises(ValueError, match="finished_silence_s"):
            SilenceLimits(*limits)
