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
    gate.goes_on(20 * S)
    assert gate.is_shut(45 * S)
    assert gate.is_shut(1 * S)


def test_news_that_come_late_do_not_shut_the_gate_again() -> None:
    gate = VoiceGate()
    gate.sounds(10 * S)
    gate.silent(12 * S)
    gate.goes_on(12 * S)
    assert not gate.is_shut(13 * S)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 100))), st.integers(0, 200))
def test_it_is_open_again_once_the_voice_was_told_to_be_silent(news: list[tuple[bool, int]], at_s: int) -> None:
    gate, now_s = VoiceGate(), 0
    for sounds, later_s in news:
        now_s += later_s
        (gate.sounds if sounds else gate.silent)(now_s * S)
    gate.silent(now_s * S)
    assert gate.is_shut((now_s + at_s) * S + ROOM_NS + 1) is False
