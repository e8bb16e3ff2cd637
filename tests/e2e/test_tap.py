"""`supervisor tap` and `supervisor topic`, as one uses them."""

from __future__ import annotations

import json
import signal

from tests.e2e.assistant import COMMAND_TIMEOUT_S, SPEECH, Assistant, lines


def test_a_tap_shows_what_passed_before_it_was_started(running: Assistant) -> None:
    (turn,) = running.hear(SPEECH / "sum-rms.wav")
    shown = lines(running.run("tap", "--since", "10m", "--turn", turn["turn"], "--timeout", "0.1", "--json").stdout)
    topics = [event["topic"] for event in shown]
    assert {"speech.started", "speech.ended", "job.moved", "transcript.final", "reply.started", "turn.finished"} <= set(topics)
    assert len({(event["sender"], event["topic"], event["seq"]) for event in shown}) == len(shown)
    only = lines(
        running.run("tap", "--since", "10m", "--turn", turn["turn"], "--where", "state == leased", "--timeout", "0.1", "--json").stdout
    )
    assert only
    assert only == [event for event in shown if event["topic"] == "job.moved" and event["body"]["state"] == "leased"]


def test_sound_is_shown_as_a_level(running: Assistant) -> None:
    hearing = running.popen("hear", "--json", "--pace", "real", str(SPEECH / "conversation.wav"))  # long enough to be found by the tap
    tap = running.popen("tap", "audio.frame", "--count", "3", "--timeout", "60")
    out, errors = tap.communicate(timeout=COMMAND_TIMEOUT_S)
    hearing.send_signal(signal.SIGINT)
    hearing.communicate(timeout=COMMAND_TIMEOUT_S)
    assert tap.returncode == 0, errors
    assert out.count("dBFS") == 3


def test_an_event_of_ones_own_reaches_a_tap_and_the_flight_recorder(running: Assistant) -> None:
    running.run("topic", "pub", "reply.waiting", json.dumps({"reason": "made by hand"}), "--turn", "by-hand-0")
    (event,) = lines(running.run("tap", "--since", "10m", "--turn", "by-hand-0", "--timeout", "0.1", "--json").stdout)
    assert (event["topic"], event["body"]["reason"]) == ("reply.waiting", "made by hand")


def test_the_rate_of_the_brokers_beat_is_one_a_second(running: Assistant) -> None:
    found = json.loads(running.run("topic", "hz", "broker.beat", "--for", "4", "--json").stdout)
    assert 1 <= found["count"] <= 8
    assert json.loads(running.run("topic", "delay", "broker.beat", "--for", "6", "--json").stdout)["delay_p50_ms"] > 0


def test_the_topics_are_listed_with_their_fields(running: Assistant) -> None:
    listed = {line["topic"]: line for line in lines(running.run("topic", "list", "--json").stdout)}
    assert "speech_ms: int" in listed["speech.ended"]["fields"]
