from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.tts.interruption import PATIENCE_S, Interruption
from bus.clock import ManualClock

SPOKEN = "Your package is on its way. It will be there tomorrow morning."


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_the_first_sign_of_a_voice_makes_us_quieter_and_a_cough_changes_nothing_else(clock: ManualClock) -> None:
    interruption = Interruption(0, clock.monotonic_ns)
    assert [interruption.started("a"), interruption.over("a")] == ["duck", "restore"]


def test_speech_that_lasts_silences_us_once(clock: ManualClock) -> None:
    interruption = Interruption(0, clock.monotonic_ns)
    assert [interruption.started("a"), interruption.confirmed("a"), interruption.confirmed("a"), interruption.over("a")] == [
        "duck",
        "stop",
        "",
        "",
    ]


@pytest.mark.parametrize("order", ["words first", "length first"])
def test_words_may_be_needed_too(clock: ManualClock, order: str) -> None:
    interruption = Interruption(2, clock.monotonic_ns)
    interruption.started("a")
    if order == "length first":
        assert interruption.confirmed("a") == ""
        assert interruption.heard("a", "Wait", SPOKEN) == ""
        assert interruption.heard("a", "Wait please", SPOKEN) == "stop"
    else:
        assert interruption.heard("a", "Wait please", SPOKEN) == ""
        assert interruption.confirmed("a") == "stop"


def test_our_own_words_heard_back_do_not_interrupt_us(clock: ManualClock) -> None:
    interruption = Interruption(2, clock.monotonic_ns)
    interruption.started("a")
    interruption.confirmed("a")
    assert interruption.heard("a", "It will be there", SPOKEN) == "restore"
    assert not interruption.is_ducked


def test_when_nobody_tells_how_it_went_on_we_are_as_loud_as_before(clock: ManualClock) -> None:
    interruption = Interruption(0, clock.monotonic_ns)
    interruption.started("a")
    clock.advance_s(PATIENCE_S - 0.1)
    assert interruption.tick() == ""
    clock.advance_s(0.2)
    assert [interruption.tick(), interruption.tick()] == ["restore", ""]


def test_what_is_told_of_another_utterance_is_not_about_this_one(clock: ManualClock) -> None:
    interruption = Interruption(0, clock.monotonic_ns)
    interruption.started("a")
    assert [interruption.confirmed("b"), interruption.over("b"), interruption.heard("b", "Stop it", SPOKEN)] == ["", "", ""]
    assert interruption.is_ducked


@given(st.lists(st.tuples(st.sampled_from(["started", "confirmed", "heard", "over", "tick"]), st.sampled_from("ab"))), st.integers(0, 3))
def test_quieter_and_louder_take_turns(facts: list[tuple[str, str]], min_words: int) -> None:
    clock = ManualClock()
    interruption = Interruption(min_words, clock.monotonic_ns)
    is_quiet = False
    for fact, turn in facts:
        clock.advance_s(0.4)
        match fact:
            case "tick":
                verdict = interruption.tick()
            case "heard":
                verdict = interruption.heard(turn, "no not that one", SPOKEN)
            case _:
                verdict = getattr(interruption, fact)(turn)
        assert verdict in (("", "duck") if not is_quiet else ("", "restore", "stop"))
        is_quiet = verdict == "duck" or (is_quiet and verdict == "")
        assert interruption.is_ducked == is_quiet
