from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.tts.interruption import HELD_S, PATIENCE_S, WORDS_S, Interruption
from bus.clock import ManualClock

SPOKEN = "Your package is on its way. It will be there tomorrow morning."


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def held(clock: ManualClock) -> Interruption:
    """Somebody spoke for so long that we are silent."""
    interruption = Interruption(0, clock.monotonic_ns)
    assert [interruption.started("a"), interruption.confirmed("a")] == ["duck", "hold"]
    return interruption


def test_the_first_sign_of_a_voice_makes_us_quieter_and_a_click_changes_nothing_else(clock: ManualClock) -> None:
    interruption = Interruption(0, clock.monotonic_ns)
    assert [interruption.started("a"), interruption.skipped("a")] == ["duck", "restore"]


def test_speech_that_lasts_silences_us_and_we_go_on_when_it_was_too_short_to_be_answered(held: Interruption) -> None:
    assert [held.confirmed("a"), held.skipped("a"), held.skipped("a")] == ["", "restore", ""]


def test_an_utterance_with_words_ends_what_we_were_saying(held: Interruption) -> None:
    assert held.ended("a") == ""
    assert held.understood("a", "What about Monday?", SPOKEN, is_answered=True) == "stop"
    assert not held.is_ducked


def test_so_do_its_words_at_a_pause_before_its_end_is_known(held: Interruption) -> None:
    assert held.heard("a", "What", SPOKEN) == ""
    assert held.paused("a", "What about", SPOKEN, is_turn=False) == ""
    assert held.paused("a", "What about Monday?", SPOKEN, is_turn=True) == "stop"
    assert held.understood("a", "What about Monday?", SPOKEN, is_answered=True) == ""


@pytest.mark.parametrize(("text", "is_answered"), [("", False), ("Thank you.", False), ("It will be there tomorrow", True)])
def test_an_utterance_that_nobody_answers_does_not(held: Interruption, text: str, is_answered: bool) -> None:
    assert held.ended("a") == ""
    assert held.understood("a", text, SPOKEN, is_answered=is_answered) == "restore"


def test_speech_without_words_that_is_asked_about_ends_it(held: Interruption) -> None:
    held.ended("a")
    assert held.understood("a", "", SPOKEN, is_answered=True) == "stop"


def test_at_a_pause_without_words_we_go_on_and_words_that_follow_all_the_same_end_it(held: Interruption) -> None:
    assert held.paused("a", "", SPOKEN, is_turn=False) == "restore"
    assert held.paused("a", "Well, no.", SPOKEN, is_turn=True) == "stop"


def test_to_stop_takes_no_more_than_to_say_so(clock: ManualClock) -> None:
    interruption = Interruption(2, clock.monotonic_ns)
    interruption.started("a")
    assert interruption.commanded("a") == "", "nor less than min_ms"
    interruption.confirmed("a")
    assert interruption.commanded("a") == "stop"


def test_the_words_of_short_speech_are_waited_for_a_moment(clock: ManualClock) -> None:
    interruption = Interruption(0, clock.monotonic_ns, short_words=True)
    interruption.started("a")
    interruption.confirmed("a")
    assert interruption.skipped("a") == ""
    clock.advance_s(WORDS_S + 0.1)
    assert interruption.tick() == "restore"
    assert interruption.commanded("a") == "stop", "later is better than never"


def test_when_its_words_are_there_nothing_is_waited_for(clock: ManualClock) -> None:
    interruption = Interruption(0, clock.monotonic_ns, short_words=True)
    interruption.started("a")
    interruption.confirmed("a")
    assert interruption.paused("a", "Mhm.", SPOKEN, is_turn=False) == ""
    assert interruption.skipped("a") == "restore"


@pytest.mark.parametrize("order", ["words first", "length first"])
def test_words_may_be_needed_too(clock: ManualClock, order: str) -> None:
    interruption = Interruption(2, clock.monotonic_ns)
    interruption.started("a")
    if order == "length first":
        assert interruption.confirmed("a") == ""
        assert interruption.heard("a", "Well", SPOKEN) == ""
        assert interruption.heard("a", "Well please", SPOKEN) == "hold"
    else:
        assert interruption.heard("a", "Well please", SPOKEN) == ""
        assert interruption.confirmed("a") == "hold"
    assert interruption.paused("a", "Well", SPOKEN, is_turn=True) == ""
    assert interruption.understood("a", "Well", SPOKEN, is_answered=True) == "restore"


def test_our_own_words_heard_back_do_not_interrupt_us(clock: ManualClock) -> None:
    interruption = Interruption(2, clock.monotonic_ns)
    interruption.started("a")
    interruption.confirmed("a")
    assert interruption.heard("a", "It will be there", SPOKEN) == "restore"
    assert not interruption.is_ducked
    assert interruption.paused("a", "It will be there", SPOKEN, is_turn=True) == ""


def test_when_nobody_tells_how_it_went_on_we_are_as_loud_as_before(clock: ManualClock) -> None:
    interruption = Interruption(0, clock.monotonic_ns)
    interruption.started("a")
    clock.advance_s(PATIENCE_S - 0.1)
    assert interruption.tick() == ""
    clock.advance_s(0.2)
    assert [interruption.tick(), interruption.tick()] == ["restore", ""]


@pytest.mark.parametrize("is_over", [False, True])
def test_we_are_silent_while_somebody_speaks_on_and_not_for_ever_when_nothing_more_is_told(
    clock: ManualClock, held: Interruption, is_over: bool
) -> None:
    for _ in range(10):
        clock.advance_s(HELD_S - 0.1)
        assert [held.tick(), held.confirmed("a")] == ["", ""]
    if is_over:
        held.ended("a")
    clock.advance_s(HELD_S + 0.1)
    assert held.tick() == "restore"
    assert held.understood("a", "What about Monday?", SPOKEN, is_answered=True) == "stop", "a slow transcriber is heeded"


def test_speech_of_an_earlier_answer_does_not_end_the_next(held: Interruption) -> None:
    assert held.forget() == "restore"
    assert held.understood("a", "What about Monday?", SPOKEN, is_answered=True) == ""


def test_who_coughs_after_an_utterance_does_not_make_us_forget_it(held: Interruption) -> None:
    held.ended("a")
    assert [held.started("b"), held.skipped("b")] == ["", "restore"]
    assert held.understood("a", "What about Monday?", SPOKEN, is_answered=True) == "stop"


def test_what_is_told_of_another_utterance_is_not_about_this_one(clock: ManualClock) -> None:
    interruption = Interruption(0, clock.monotonic_ns)
    interruption.started("a")
    assert [interruption.confirmed("b"), interruption.over("b"), interruption.heard("b", "Do it", SPOKEN)] == ["", "", ""]
    assert interruption.is_ducked


FACTS = st.sampled_from(
    ["started", "confirmed", "heard", "paused", "commanded", "skipped", "ended", "understood", "over", "tick", "forget"]
)


@given(st.lists(st.tuples(FACTS, st.sampled_from("ab"), st.sampled_from(["", "no not that one", "It will be there"]))), st.integers(0, 3))
def test_quieter_silent_and_louder_take_turns_and_nobody_is_silent_for_ever(facts: list[tuple[str, str, str]], min_words: int) -> None:
    clock = ManualClock()
    interruption = Interruption(min_words, clock.monotonic_ns, short_words=True)
    state = "loud"
    for fact, turn, text in facts:
        clock.advance_s(0.4)
        match fact:
            case "tick" | "forget":
                verdict = getattr(interruption, fact)()
            case "heard":
                verdict = interruption.heard(turn, text, SPOKEN)
            case "paused":
                verdict = interruption.paused(turn, text, SPOKEN, is_turn=True)
            case "understood":
                verdict = interruption.understood(turn, text, SPOKEN, is_answered=bool(text))
            case _:
                verdict = getattr(interruption, fact)(turn)
        assert verdict in {"loud": ("", "duck", "stop"), "quiet": ("", "hold", "restore", "stop"), "held": ("", "restore", "stop")}[state]
        state = {"": state, "duck": "quiet", "hold": "held", "restore": "loud", "stop": "loud"}[verdict]
        assert interruption.is_ducked == (state != "loud")
    clock.advance_s(HELD_S + 0.1)
    assert interruption.tick() == ("" if state == "loud" else "restore")
