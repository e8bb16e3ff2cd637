"""When a turn was over, whatever was done to the clock on the wall."""

from __future__ import annotations

from actors.memory.ends import MOST_STREAMS, Ends
from bus.messages.turn import TurnRecord

S = 1_000_000_000


def record(turn: str, stream: str = "mic", wall_ns: int = 1000 * S) -> TurnRecord:
    return TurnRecord(turn=turn, stream=stream, role="", state="answered", transcript="", reply="", wall_ns=wall_ns, timings_ms={})


def test_a_turn_of_this_life_ended_when_it_did_although_the_clock_was_set() -> None:
    ends = Ends()
    ends.add(record("t1"), 5 * S)
    assert ends.of(record("t1"), mono_ns=9 * S, wall_ns=9_999_999 * S) == 5 * S


def test_of_a_turn_of_an_earlier_life_the_wall_clock_tells() -> None:
    assert Ends().of(record("t1"), mono_ns=9 * S, wall_ns=1003 * S) == 6 * S


def test_the_last_turn_of_each_stream_is_known_and_no_flood_of_streams_grows() -> None:
    ends = Ends()
    ends.add(record("t1"), 5 * S)
    ends.add(record("t2"), 7 * S)
    assert ends.of(record("t2"), 9 * S, 1000 * S) == 7 * S
    for number in range(MOST_STREAMS):
        ends.add(record("t", f"s{number}"), 8 * S)
    assert ends.of(record("t2"), 9 * S, 1000 * S) == 9 * S
