"""The events of the bus: named, measured, and made by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bus.addresses import Addresses
from bus.clock import ManualClock
from bus.codec import Stamp, decode
from bus.errors import EarshotError
from bus.messages.reply import ReplyWaiting
from bus.messages.speech import SpeechEnded
from supervisor.topics import Statistics, event_types, field_types, number_lines, publish, read_event, summary


def test_events_are_listed_and_talk_between_two_processes_is_not() -> None:
    topics = event_types()
    assert {"speech.ended", "job.moved", "audio.frame", "loss.told"} <= set(topics)
    assert not {"job.submit", "control.stop", "audio.since"} & set(topics)
    assert all(summary(kind) for kind in topics.values())


def test_the_fields_of_an_event_are_told_with_their_types() -> None:
    assert field_types(SpeechEnded) == "first_sample: int, end_sample: int, speech_ms: int, cut: bool"


def test_an_event_made_by_hand_is_checked_by_its_type() -> None:
    assert read_event("reply.waiting", '{"reason": "a test"}') == ReplyWaiting(reason="a test")


@pytest.mark.parametrize(
    ("topic", "text", "complaint"),
    [
        ("no.such", "{}", "is no topic"),
        ("control.stop", "{}", "talk between two processes"),
        ("reply.waiting", "{}", "its fields are reason: str"),
        ("reply.waiting", '{"reason": 3}', "Expected `str`"),
        ("reply.waiting", '{"reason": "a", "more": 1}', "unknown field"),
        ("reply.waiting", "{", "truncated"),
        ("audio.frame", "{}", "supervisor hear"),
    ],
)
def test_an_event_that_is_none_is_told(topic: str, text: str, complaint: str) -> None:
    with pytest.raises(EarshotError, match=complaint):
        read_event(topic, text)


@pytest.mark.parametrize("names", [{"turn": "t" * 65, "stream": ""}, {"turn": "", "stream": "s" * 65}, {"turn": "\udcff", "stream": ""}])
def test_a_name_that_the_bus_would_refuse_is_told_before_it_is_sent(names: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(EarshotError, match="at most 64 printable characters"):
        publish(Addresses(tmp_path, tmp_path), ReplyWaiting(reason="x"), **names)


def test_rate_size_and_delay_are_those_of_the_arrivals() -> None:
    clock = ManualClock()
    stamp = Stamp("llm", "1", clock)
    statistics = Statistics()
    for gap_s in (0.0, 0.1, 0.3):
        clock.advance_s(gap_s)
        message = decode(stamp.pack(ReplyWaiting(reason="x")))
        statistics.add(message, clock.monotonic_ns() + 2_000_000)
    rate = statistics.rate(2.0)
    assert (rate["count"], rate["per_s"]) == (3, 1.5)
    assert (rate["gap_mean_ms"], rate["gap_max_ms"]) == pytest.approx((200.0, 300.0))
    assert statistics.delay(2.0)["delay_p99_ms"] == pytest.approx(2.0)
    bandwidth = statistics.bandwidth(2.0)
    assert bandwidth["bytes_per_s"] == bandwidth["mean_bytes"] * 1.5


def test_nothing_heard_is_told_without_a_number() -> None:
    statistics = Statistics()
    assert math.isnan(statistics.rate(1.0)["gap_mean_ms"])
    assert list(number_lines(statistics.delay(1.0)))[:2] == ["count           0", "delay_mean_ms   –"]
