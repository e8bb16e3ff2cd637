"""Losses are counted each and told once per episode; the clock is turned by hand."""

from __future__ import annotations

from collections import Counter
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from bus.losses import QUIET_S, Cause, Losses, from_text


class Bench:
    def __init__(self) -> None:
        self.now_ns = 1
        self.losses = Losses(lambda: self.now_ns)

    def wait(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


def test_a_flood_is_told_when_it_begins_and_when_it_is_over_with_its_number() -> None:
    bench = Bench()
    begun = bench.losses.count("events-missed", 2, stream="mic", turn="t")
    assert begun is not None
    assert (begun.body.cause, begun.body.number, begun.body.over, begun.stream, begun.turn) == ("events-missed", 2, False, "mic", "t")
    for _ in range(1000):
        bench.wait(QUIET_S / 2)
        assert bench.losses.count("events-missed") is None
        assert bench.losses.check() == []
    bench.wait(QUIET_S)
    (over,) = bench.losses.check()
    assert (over.body.number, over.body.total, over.body.over, over.stream, over.turn) == (1002, 1002, True, "mic", "t")
    assert not bench.losses.in_episode


def test_a_later_episode_counts_from_one_again_and_the_total_goes_on() -> None:
    bench = Bench()
    bench.losses.count("messages-malformed", 5)
    bench.wait(QUIET_S)
    bench.losses.check()
    begun = bench.losses.count("messages-malformed")
    assert begun is not None
    assert (begun.body.number, begun.body.total) == (1, 6)


def test_causes_have_episodes_of_their_own() -> None:
    bench = Bench()
    assert bench.losses.count("events-missed") is not None
    bench.wait(QUIET_S / 2)
    assert bench.losses.count("frames-stale") is not None
    bench.wait(QUIET_S / 2)
    assert [told.body.cause for told in bench.losses.check()] == ["events-missed"]
    assert bench.losses.in_episode


def test_nothing_lost_is_nothing_told() -> None:
    bench = Bench()
    assert bench.losses.count("audio-device-ms", 0) is None
    assert not bench.losses.in_episode
    assert bench.losses.to_text() == ""


@given(st.lists(st.tuples(st.sampled_from(get_args(Cause)), st.integers(1, 1000), st.floats(0, 2 * QUIET_S))))
def test_whatever_happens_the_ends_of_the_episodes_add_up_to_the_totals(happenings: list[tuple[Cause, int, float]]) -> None:
    bench = Bench()
    ends: Counter[str] = Counter()
    begun = 0
    for cause, number, pause_s in happenings:
        begun += bench.losses.count(cause, number) is not None
        bench.wait(pause_s)
        for told in bench.losses.check():
            ends[told.body.cause] += told.body.number
            begun -= 1
    bench.wait(QUIET_S)
    for told in bench.losses.check():
        ends[told.body.cause] += told.body.number
        begun -= 1
    assert begun == 0
    assert ends == bench.losses.totals
    assert from_text(bench.losses.to_text()) == dict(ends)
