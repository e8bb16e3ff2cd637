"""Which events a tap shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.clock import ManualClock
from bus.codec import Stamp, decode
from bus.errors import EarshotError
from bus.messages.actor import ActorState, BrokerBeat
from bus.messages.base import Body, Message, body_types
from bus.messages.jobs import JobMoved
from bus.messages.speech import SpeechEnded, TranscriptFinal
from bus.messages.turn import TurnFinished, TurnRecord
from supervisor.filters import Condition, Wanted, known_fields, wanted
from tests.examples import any_of, example


def event(body: Body, sender: str = "vad", turn: str = "mic-e-480", stream: str = "mic") -> Message:
    return decode(Stamp(sender, "1", ManualClock()).pack(body, turn=turn, stream=stream))


ENDED = event(SpeechEnded(first_sample=480, end_sample=960, speech_ms=700))
MOVED = event(JobMoved(job_id="mic-e-480/transcribe/0", state="leased", worker="whisper-2/a.1"), sender="dispatcher")
STATE = event(ActorState(actor="llm", incarnation="a.1", state="failed", detail="no memory"), sender="launcher", turn="", stream="")


@pytest.mark.parametrize(
    ("filter_", "shown"),
    [
        (wanted([]), [ENDED, MOVED, STATE]),
        (wanted(["speech"]), [ENDED]),
        (wanted(["speech.", "job.moved"]), [ENDED, MOVED]),
        (wanted(["*.ended"]), [ENDED]),
        (wanted(["actor.*", "job.m?ved"]), [MOVED, STATE]),
        (wanted([], turn="mic-e-480"), [ENDED, MOVED]),
        (wanted([], turn="mic-e"), [ENDED, MOVED]),
        (wanted([], turn="mic-f"), []),
        (wanted([], stream="mic"), [ENDED, MOVED]),
        (wanted([], actor="vad"), [ENDED]),
        (wanted([], actor="whisper"), [MOVED]),
        (wanted([], actor="whisper-1"), []),
        (wanted([], actor="llm"), [STATE]),
        (wanted([], where=["speech_ms > 500"]), [ENDED]),
        (wanted([], where=["speech_ms > 500", "speech_ms<700"]), []),
        (wanted([], where=["state == failed"]), [STATE]),
        (wanted([], where=['state="leased"']), [MOVED]),
        (wanted([], where=["state != 'leased'"]), [STATE]),
        (wanted([], where=["detail ~ MEMORY"]), [STATE]),
        (wanted([], where=["sender == vad"]), [ENDED]),
        (wanted([], where=["cut == false"]), [ENDED]),
    ],
)
def test_a_filter_shows_what_it_says(filter_: Wanted, shown: list[Message]) -> None:
    assert [message for message in (ENDED, MOVED, STATE) if filter_.matches(message)] == shown


def test_a_nested_field_is_named_with_dots() -> None:
    finished = event(example(TurnFinished))
    assert wanted([], where=["record.state == text"]).matches(finished)
    assert not wanted([], where=["record.state == answered"]).matches(finished)


def test_the_bus_looking_at_itself_is_shown_only_when_it_is_asked_for() -> None:
    beat = event(BrokerBeat())
    assert not wanted([]).matches(beat)
    assert wanted(["broker"]).matches(beat)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"topics": ["speach"]}, "did you mean 'speech"),
        ({"topics": ["*.nothing"]}, "`supervisor topic list`"),
        ({"where": ["duraton_ms > 5"]}, "no event has a field 'duraton_ms'"),
        ({"where": ["speach_ms > 5"]}, "did you mean 'speech_ms'"),
        ({"where": ["speech_ms"]}, "write FIELD OPERATOR VALUE"),
        ({"where": ["speech_ms >"]}, "write FIELD OPERATOR VALUE"),
        ({"where": ["speech_ms > long"]}, "compares with a number"),
    ],
)
def test_a_filter_through_which_nothing_can_pass_is_told(options: dict[str, list[str]], complaint: str) -> None:
    with pytest.raises(EarshotError, match=complaint) as raised:
        wanted(options.get("topics", []), where=options.get("where", []))
    assert "\n" not in str(raised.value)


def test_a_number_compared_with_text_does_not_match_and_does_not_raise() -> None:
    assert not Condition.parse("text > 5").matches({"text": "hello"})


def test_text_that_looks_like_a_number_is_compared_as_it_was_written() -> None:
    assert Condition.parse("incarnation = 2108").matches({"incarnation": "2108"})
    assert not Condition.parse("incarnation != 2108").matches({"incarnation": "2108"})
    assert Condition.parse("incarnation != 2108").matches({"incarnation": "2109"})
    assert Condition.parse('incarnation = "2108"').matches({"incarnation": "2108"})
    assert Condition.parse("incarnation ~ 1e3").matches({"incarnation": "a1e3f"})
    assert not Condition.parse("incarnation = 1.0").matches({"incarnation": "1"})


def test_a_number_may_be_written_in_any_way() -> None:
    assert Condition.parse("speech_ms = 700.0").matches({"speech_ms": 700})


def test_any_name_is_allowed_where_the_names_are_not_fixed() -> None:
    record = TurnRecord(
        turn="t", stream="mic", role="plain", state="answered", transcript="", reply="", wall_ns=0, timings_ms={"total": 1200.0}
    )
    finished = event(TurnFinished(record=record))
    assert wanted([], where=["record.timings_ms.total > 1000"]).matches(finished)
    assert not wanted([], where=["record.timings_ms.total > 1300"]).matches(finished)
    assert not wanted([], where=["record.timings_ms.first_token > 1"]).matches(finished)
    with pytest.raises(EarshotError, match="no event has a field"):
        wanted([], where=["record.state.total > 1000"])


@given(st.sampled_from(sorted(body_types().values(), key=lambda kind: kind.topic)).flatmap(any_of))
def test_every_event_is_shown_by_its_own_topic_and_comes_under_the_subscription(body: Body) -> None:
    message = event(body)
    for topics in ([body.topic], [body.topic[:3] + "*"], [body.topic[0]]):
        asked = wanted(topics)
        assert asked.matches(message)
        assert any(body.topic.startswith(prefix) for prefix in asked.subscriptions)


def test_the_fields_of_all_events_are_known() -> None:
    assert {"speech_ms", "record.transcript", "record.state", "turn", "sender"} <= known_fields()
    assert TranscriptFinal.__struct_fields__[0] in known_fields()
