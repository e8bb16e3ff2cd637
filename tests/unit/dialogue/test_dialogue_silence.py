"""When the assistant asks into the silence, and who was woken: seconds as whole numbers, the limit is ten of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.dialogue.silence import Silence
from actors.dialogue.wake import Woken

S = 1_000_000_000


def conversation() -> Silence:
    """One question, answered at second 0."""
    silence = Silence(10.0)
    silence.began("mic", "t1")
    silence.ended("mic", "t1", 0, spoke=True)
    return silence


def test_after_a_silence_of_that_length_it_is_asked_about_once() -> None:
    silence = conversation()
    assert silence.due_ns == 10 * S
    assert silence.asked_about(10 * S - 1) == []
    assert silence.asked_about(10 * S) == [("mic", "t1-silence")]
    assert silence.asked_about(11 * S) == []


def test_before_anything_was_said_by_the_assistant_there_is_no_conversation() -> None:
    silence = Silence(10.0)
    silence.began("mic", "t1")
    silence.ended("mic", "t1", 0)
    assert silence.due_ns is None


def test_speech_ends_the_silence_and_its_turn_begins_another() -> None:
    silence = conversation()
    silence.began("mic", "t2")
    assert silence.asked_about(100 * S) == []
    silence.ended("mic", "t2", 100 * S, spoke=True)
    assert silence.asked_about(110 * S) == [("mic", "t2-silence")]


def test_a_cough_begins_the_silence_anew_and_is_not_what_it_is_named_after() -> None:
    silence = conversation()
    silence.began("mic", "cough")
    silence.ended("mic", "cough", 9 * S)
    assert silence.asked_about(10 * S) == []
    assert silence.asked_about(19 * S) == [("mic", "t1-silence")]


def test_while_a_later_turn_is_open_the_end_of_an_earlier_one_begins_no_silence() -> None:
    silence = Silence(10.0)
    silence.began("mic", "t1")
    silence.began("mic", "t2")
    silence.ended("mic", "t1", 0, spoke=True)
    assert silence.due_ns is None
    silence.ended("mic", "t2", 5 * S, spoke=True)
    assert silence.due_ns == 15 * S


def test_a_turn_whose_end_was_lost_is_over_with_the_next() -> None:
    silence = Silence(10.0)
    silence.began("mic", "t1")
    silence.began("mic", "t2")
    silence.ended("mic", "t2", 0, spoke=True)
    assert silence.due_ns == 10 * S


def test_in_one_conversation_it_is_asked_once_and_in_the_next_again() -> None:
    silence = conversation()
    silence.asked_about(10 * S)
    silence.ended("mic", "t1-silence", 11 * S, spoke=True)
    silence.began("mic", "t2")
    silence.ended("mic", "t2", 15 * S, spoke=True)
    assert silence.asked_about(25 * S) == []  # asked before: now the conversation is over
    assert silence.due_ns is None
    silence.began("mic", "t3")
    silence.ended("mic", "t3", 40 * S, spoke=True)
    assert silence.asked_about(50 * S) == [("mic", "t3-silence")]


def test_each_stream_has_its_own_silence() -> None:
    silence = conversation()
    silence.began("hear", "h1")
    silence.ended("hear", "h1", 5 * S, spoke=True)
    silence.began("mic", "t2")
    assert silence.asked_about(15 * S) == [("hear", "h1-silence")]


EVENT = st.tuples(st.sampled_from(["began", "ended", "look"]), st.sampled_from(["a", "b"]), st.integers(0, 20), st.booleans())


@given(st.lists(EVENT, max_size=60))
def test_whatever_comes_it_is_never_asked_about_twice_in_a_row_and_never_while_somebody_speaks(
    events: list[tuple[str, str, int, bool]],
) -> None:
    silence = Silence(10.0)
    now_ns = 0
    speaking: dict[str, str] = {}
    spoke: dict[str, bool] = {}
    for number, (kind, stream, seconds, aloud) in enumerate(events):
        now_ns += seconds * S
        if kind == "began":
            silence.began(stream, f"{stream}{number}")
            speaking[stream] = f"{stream}{number}"
        elif kind == "ended":
            silence.ended(stream, speaking.pop(stream, "an-older-one"), now_ns, spoke=aloud)
            spoke[stream] = spoke.get(stream, False) or aloud
        else:
            for asked, turn in silence.asked_about(now_ns):
                assert asked not in speaking
                assert spoke.pop(asked, False), "nothing was said since it was asked about last"
                assert turn.endswith("-silence")


def test_speech_that_goes_on_behind_the_wake_word_is_for_us_and_so_is_what_follows_soon() -> None:
    woken = Woken(8000)
    woken.heard("mic", 10 * S)
    assert woken.is_addressed("mic", 9 * S, 12 * S)
    assert woken.is_addressed("mic", 17 * S, 30 * S)
    assert not woken.is_addressed("mic", 19 * S, 30 * S)
    assert not woken.is_addressed("mic", 5 * S, 9 * S)
    assert not woken.is_addressed("hear", 9 * S, 12 * S)


def test_a_flood_of_streams_does_not_grow_and_keeps_the_newest() -> None:
    woken, silence = Woken(8000), Silence(10.0)
    for number in range(1000):
        woken.heard(f"s{number}", 0)
        silence.ended(f"s{number}", "t", 0, spoke=True)
    assert woken.is_addressed("s999", 0, 0)
    assert not woken.is_addressed("s0", 0, 0)
    assert len(silence.asked_about(10 * S)) == 100
