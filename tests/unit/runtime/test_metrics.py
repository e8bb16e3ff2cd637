"""What the events say, as figures for Prometheus."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from actors.metrics.actor import Metrics
from actors.metrics.figures import Figures
from bus.clock import ManualClock
from bus.codec import Stamp, decode
from bus.errors import SetupError
from bus.messages.actor import ActorState, LossTold
from bus.messages.base import Body, body_types
from bus.messages.jobs import JobMoved
from bus.messages.reply import ReplyDelta, ReplyDiscarded
from bus.messages.speech import SpeechSkipped, TranscriptFinal
from bus.messages.turn import TurnFinished, TurnRecord
from tests.examples import any_of
from tests.fakes.audio_instance import Instance, Listener, settings
from tests.ports import port_without_a_server


class Sheet:
    """Figures, the events that are fed to them, and what comes out."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.figures = Figures()
        self._stamps: dict[tuple[str, str], Stamp] = {}

    def tell(self, body: Body, sender: str = "vad", incarnation: str = "a.1", after_s: float = 0.0) -> None:
        self.clock.advance_s(after_s)
        stamp = self._stamps.setdefault((sender, incarnation), Stamp(sender, incarnation, self.clock))
        self.figures.add(decode(stamp.pack(body)), self.clock.monotonic_ns() + 250_000)

    def value(self, name: str, **labels: str) -> float:
        found = self.figures.registry.get_sample_value(name, labels)
        assert found is not None, f"no {name} {labels}"
        return found


def test_a_turn_is_counted_and_its_stages_are_measured_in_seconds() -> None:
    sheet = Sheet()
    record = TurnRecord(
        turn="t",
        stream="mic",
        role="plain",
        state="answered",
        transcript="secret words",
        reply="secret words",
        wall_ns=0,
        timings_ms={"transcribe": 210.0, "total_to_first_token": 820.0, "total": 900.0},
    )
    sheet.tell(TurnFinished(record=record))
    assert sheet.value("earshot_turns_total", state="answered") == 1
    assert sheet.value("earshot_turn_stage_seconds_sum", stage="transcribe") == pytest.approx(0.21)
    assert sheet.value("earshot_turn_wait_seconds_sum") == pytest.approx(0.82)
    assert b"secret" not in generate_latest(sheet.figures.registry)


def test_a_job_is_timed_from_its_submission_to_its_lease_and_from_there_to_its_end() -> None:
    sheet = Sheet()
    for state, after_s in (("submitted", 0.0), ("leased", 0.5), ("done", 2.0)):
        sheet.tell(JobMoved(job_id="mic-e-480/transcribe/0", state=state, worker="whisper-2/a.1"), "dispatcher", after_s=after_s)
    assert sheet.value("earshot_job_queue_seconds_sum", stage="transcribe") == pytest.approx(0.5)
    assert sheet.value("earshot_job_lease_seconds_sum", stage="transcribe", actor="whisper-2") == pytest.approx(2.0)
    assert sheet.value("earshot_jobs_total", stage="transcribe", event="leased") == 1


def test_of_a_hedged_job_each_workers_time_is_its_own() -> None:
    sheet = Sheet()
    for state, worker, after_s in (
        ("leased", "whisper-1/a", 0),
        ("hedged", "whisper-2/a", 5),
        ("done", "whisper-2/a", 1),
        ("released", "whisper-1/a", 1),
    ):
        sheet.tell(JobMoved(job_id="mic-e-480/transcribe/0", state=state, worker=worker), "dispatcher", after_s=after_s)
    assert sheet.value("earshot_job_lease_seconds_sum", stage="transcribe", actor="whisper-2") == pytest.approx(1.0)
    assert sheet.value("earshot_job_lease_seconds_sum", stage="transcribe", actor="whisper-1") == pytest.approx(7.0)


def test_the_hop_of_each_event_is_measured_by_topic() -> None:
    sheet = Sheet()
    sheet.tell(SpeechSkipped(first_sample=0, speech_ms=60, minimum_ms=800))
    assert sheet.value("earshot_event_hop_seconds_sum", topic="speech.skipped") == pytest.approx(0.00025)
    assert sheet.value("earshot_speech_skipped_total") == 1


def test_what_answers_ahead_of_time_cost_in_vain_is_counted() -> None:
    sheet = Sheet()
    for tokens in (0, 7):
        sheet.tell(ReplyDiscarded(tokens=tokens, ms=120.0), "llm")
    assert sheet.value("earshot_replies_discarded_total") == 2
    assert sheet.value("earshot_reply_tokens_discarded_total") == 7


def test_the_realtime_factor_is_the_time_to_transcribe_by_the_length_of_the_sound() -> None:
    sheet = Sheet()
    sheet.tell(TranscriptFinal(text="x", audio_ms=2000, decode_ms=500, avg_logprob=0, no_speech_prob=0), "whisper-1")
    assert sheet.value("earshot_transcription_realtime_factor_sum", actor="whisper-1") == 0.25


@given(st.lists(st.integers(0, 50), min_size=1, max_size=10), st.data())
def test_losses_add_up_over_the_lives_of_an_actor_although_some_of_their_events_are_missed(totals: list[int], data: st.DataObject) -> None:
    sheet = Sheet()
    expected = 0
    for life in range(2):
        grown = sorted(totals)
        heard = [total for total in grown[:-1] if data.draw(st.booleans())] + grown[-1:]
        for total in heard:
            sheet.tell(LossTold(cause="events-missed", number=total, total=total), incarnation=f"a.{life}")
        expected += grown[-1]
    assert sheet.value("earshot_losses_total", actor="vad", cause="events-missed") == expected


def test_restarts_are_how_often_an_actor_became_ready() -> None:
    sheet = Sheet()
    for state in ("starting", "ready", "backing-off", "starting", "ready"):
        sheet.tell(ActorState(actor="llm", incarnation="a.1", state=state), "launcher")
    assert sheet.value("earshot_actor_starts_total", actor="llm") == 2
    assert sheet.value("earshot_actor_up", actor="llm") == 1.0


@given(st.lists(st.sampled_from(sorted(body_types().values(), key=lambda kind: kind.topic)).flatmap(any_of), max_size=5))
def test_no_event_upsets_the_figures_and_they_stay_readable(bodies: list[Body]) -> None:
    sheet = Sheet()
    for body in bodies:
        sheet.tell(body)
    assert list(text_string_to_metric_families(generate_latest(sheet.figures.registry).decode()))


def test_every_name_is_of_ours_and_in_base_units() -> None:
    for family in text_string_to_metric_families(generate_latest(Figures().registry).decode()):
        assert family.name.startswith("earshot_")
        assert not family.name.endswith(("_ms", "_ns"))


@pytest.fixture(autouse=True)
def planes(request: pytest.FixtureRequest) -> None:
    if "instance" in request.fixturenames:
        request.getfixturevalue("instance").start_planes()


@pytest.fixture
def port() -> Iterator[int]:
    with port_without_a_server() as port:
        yield port


def test_a_prometheus_on_this_machine_can_scrape_it(port: int, instance: Instance) -> None:
    talker = Listener("reply.")
    instance.start("talker", talker)
    instance.start("metrics", Metrics, settings(metrics={"port": port}))
    instance.until_ready()
    instance._running["talker"][0].publish(ReplyDelta(attempt=1, index=0, text="secret"))
    instance.until(lambda: talker.messages)

    def scraped() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    instance.until(lambda: 'earshot_event_hop_seconds_count{topic="reply.delta"} 1.0' in scraped())
    assert "secret" not in scraped()


def test_a_port_that_is_taken_is_told(instance: Instance) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(SetupError, match="to a free one"):
        instance.start("metrics", Metrics, settings(metrics={"port": server.getsockname()[1]}))
