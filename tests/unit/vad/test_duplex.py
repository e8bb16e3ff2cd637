from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.vad.duplex import LONGEST_NS, ROOM_NS, VoiceGate

S = 1_000_000_000


def test_nothing_is_kept_from_us_before_the_voice_sounds() -> None:
    assert not VoiceGate().is_shut(5 * S)


def test_what_is_captured_while_the_voice_sounds_and_until_the_room_is_quiet_is_not_heard() -> None:
    gate = VoiceGate()
    gate.sounds(10 * S)
    gate.silent(12 * S)
    assert [gate.is_shut(at) for at in (10 * S - 1, 10 * S, 12 * S, 12 * S + ROOM_NS, 12 * S + ROOM_NS + 1)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_a_voice_whose_end_was_not_told_does_not_make_us_deaf_for_ever() -> None:
    gate = VoiceGate()
    gate.sounds(10 * S)
    assert gate.is_shut(10 * S + LONGEST_NS)
    assert not gate.is_shut(10 * S + LONGEST_NS + 1)


def test_news_of_the_voice_keep_the_gate_shut() -> None:
    gate = VoiceGate()
    gate.sounds(0)
    gate.sounds(LONGEST_NS, since_ns=0)
    assert gate.is_shut(LONGEST_NS + S)
    assert gate.is_shut(1 * S)


def test_a_voice_that_goes_on_after_a_long_wait_shuts_the_gate_again_and_not_for_the_wait() -> None:
    gate = VoiceGate()
    gate.sounds(10 * S)
    gate.sounds(50 * S, since_ns=50 * S)
    assert [gate.is_shut(at * S) for at in (11, 30, 49, 50, 51)] == [True, False, False, True, True]


def test_a_successor_learns_from_the_next_news_that_the_voice_sounds_and_since_when() -> None:
    gate = VoiceGate()
    gate.sounds(50 * S, since_ns=45 * S)
    assert [gate.is_shut(at * S) for at in (44, 45, 51)] == [False, True, True]


def test_news_that_come_late_do_not_shut_the_gate_again() -> None:
    gate = VoiceGate()
    gate.sounds(10 * S)
    gate.silent(12 * S)
    gate.sounds(12 * S, since_ns=10 * S)
    assert not gate.is_shut(13 * S)


def test_whoever_catches_up_past_the_last_answer_knows_the_ones_before() -> None:
    gate = VoiceGate()
    for at_s in (10, 20, 30):
        gate.sounds(at_s * S)
        gate.silent((at_s + 2) * S)
    assert [gate.is_shut(at * S) for at in (11, 15, 21, 25, 31, 35)] == [True, False, True, False, True, False]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 100))), st.integers(0, 200))
def test_it_is_open_again_once_the_voice_was_told_to_be_silent(news: list[tuple[bool, int]], at_s: int) -> None:
    gate, now_s = VoiceGate(), 0
    for sounds, later_s in news:
        now_s += later_s
        (gate.sounds if sounds else gate.silent)(now_s * S)
    gate.silent(now_s * S)
    assert gate.is_shut((now_s + at_s) * S + ROOM_NS + 1) is False
