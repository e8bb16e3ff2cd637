"""Broker, tap, console: those who only pass events on or look at them may die or hang, and the conversation goes on."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zmq

from bus.codec import Stamp
from bus.events import Publisher, Subscriber, wait_until_heard
from bus.messages.actor import BrokerBeat, LossTold
from bus.messages.reply import ReplyWaiting
from supervisor.views.console import RESTARTED
from tests.e2e.assistant import COMMAND_TIMEOUT_S, PATIENT, ROOT, SPEECH, SUPERVISOR, Assistant, assistant, placed, words
from tests.processes import stop_for
from tests.waiting import DEADLINE_S, pump_until, wait_until

FLOOD_BATCHES = 150
BATCH = 200
"""Together more events than all the queues between two processes hold."""


class Flood:
    """Publishes as fast as its own subscriber hears it, so that the sender drops nothing and what is missed is missed by others."""

    def __init__(self, running: Assistant) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._publisher = Publisher(self._context, running.addresses.events_in, Stamp("flood", "1"))
        self._subscriber = Subscriber(self._context, running.addresses.events_out, (ReplyWaiting.topic,))
        wait_until_heard(self._publisher, self._subscriber, DEADLINE_S)
        self._number = 0

    def publish(self, count: int = 1) -> None:
        for _ in range(count):
            self._number += 1
            self._publisher.publish(ReplyWaiting(reason=str(self._number)))
        last = ReplyWaiting(reason=str(self._number))
        pump_until(lambda: any(message.body == last for message in self._subscriber.receive()), lambda: self._subscriber.socket.poll(50))

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture(scope="module")
def running() -> Iterator[Assistant]:
    with assistant("launcher.restart_budget=100", PATIENT) as started:
        yield started


def test_a_tap_that_is_stopped_in_a_flood_disturbs_nobody_and_tells_what_it_missed(running: Assistant) -> None:
    flood = Flood(running)
    tap = running.popen("tap", "--json", ReplyWaiting.topic)
    assert tap.stdout is not None
    assert tap.stderr is not None
    out, errors = tap.stdout, tap.stderr
    wait_until(lambda: flood.publish() or select.select([out], [], [], 0.05)[0])  # type: ignore[func-returns-value]
    tap.send_signal(signal.SIGSTOP)
    for _ in range(FLOOD_BATCHES):
        flood.publish(BATCH)
    (turn,) = running.hear(SPEECH / "sum-rms.wav")
    assert turn["reply"] == "Two plus three is five."
    assert {name: actor["restarts"] for name, actor in running.status().items() if actor["restarts"]} == {}
    tap.send_signal(signal.SIGCONT)
    reader = threading.Thread(target=out.read)  # so that its output does not stop it again
    reader.start()
    told: list[str] = []
    while not told:
        flood.publish()
        if select.select([errors], [], [], 0.05)[0]:
            told.append(errors.readline())
    assert "is missing events" in told[0]
    tap.send_signal(signal.SIGINT)
    told += errors.read().splitlines()
    reader.join()
    tap.wait()
    flood.close()
    missed = [int(found[1]) for line in told if (found := re.match(r"this tap missed (\d+) events", line))]
    assert len(missed) == 1
    assert 0 < missed[0] <= FLOOD_BATCHES * BATCH


def test_after_the_broker_was_killed_a_tap_that_was_there_before_shows_events_again(running: Assistant) -> None:
    tap = running.popen("tap", "--json", BrokerBeat.topic, "turn.finished")

    def shown(topic: str, but_not_of: str = "") -> dict[str, Any]:
        """The next event of that topic, of another life of its sender than the given one."""
        assert tap.stdout is not None
        for line in tap.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["topic"] == topic and event["incarnation"] != but_not_of:
                return event
        raise AssertionError("the tap has ended")

    broker = shown(BrokerBeat.topic)["incarnation"]  # so it is connected
    (turn,) = running.hear(SPEECH / "sum-rms.wav")
    assert shown("turn.finished")["turn"] == turn["turn"]
    pid = running.kill("broker")
    running.wait_until_ready("broker", but_not_pid=pid)
    for actor in running.status():
        running.wait_until_ready(actor)
    shown(BrokerBeat.topic, but_not_of=broker)
    (turn,) = running.hear(SPEECH / "sum-rms.wav")
    assert shown("turn.finished")["turn"] == turn["turn"]
    tap.kill()
    tap.communicate()


def test_a_segmenter_that_was_stopped_for_a_while_is_told_to_have_been_behind() -> None:
    with (
        assistant("launcher.watchdog_s=60", "vad.stale_ms=500") as patient,
        patient.events("speech.") as events,
        patient.events(LossTold.topic) as losses,
    ):
        hear = patient.popen("hear", "--json", "--pace", "real", str(SPEECH / "conversation.wav"))
        events.wait_for("speech.started")
        stop_for(3.0, int(patient.status()["vad"]["pid"]))
        told = losses.wait_for(LossTold.topic, cause="frames-stale").body
        hear.kill()
        hear.communicate()
        patient.wait_until(lambda: patient.status()["vad"]["losses"].get("frames-stale", 0) > 30, interval_s=0.2)
    assert isinstance(told, LossTold)
    assert (told.cause, told.over) == ("frames-stale", False)


class Terminal:
    """What stands on it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.text = ""

    def read(self) -> None:
        while select.select([self._fd], [], [], 0.05)[0]:
            try:
                self.text += os.read(self._fd, 1 << 16).decode().replace("\r\n", "\n")
            except OSError:  # the other end is gone
                return

    def until(self, words: str) -> None:
        pump_until(lambda: words in self.text, self.read)


@contextmanager
def foreground(*options: str) -> Iterator[tuple[Assistant, Terminal]]:
    """An assistant that shows the conversation on a terminal."""
    with placed(*options) as found:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*SUPERVISOR, "start", "--config", "config/rehearsal.toml", *found.options],
            cwd=ROOT,
            env=found.environ,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        terminal = Terminal(ours)
        try:
            terminal.until("Listening...")
            yield found, terminal
        finally:
            process.send_signal(signal.SIGTERM)
            pump_until(lambda: process.poll() is not None, terminal.read)
            os.close(ours)


def test_a_console_killed_in_mid_reply_comes_back_and_shows_the_turn_whole_and_the_next_one_too() -> None:
    slow = ("rehearsal_llm.first_token_delay_ms=400", "rehearsal_llm.token_delay_ms=400", PATIENT)
    with foreground(*slow) as (running, terminal), running.events("reply.") as events:
        hear = running.popen("hear", "--json", str(SPEECH / "sum-rms.wav"))
        events.wait_for("reply.delta")
        running.kill("console")
        terminal.until(RESTARTED.strip())
        hear.communicate(timeout=COMMAND_TIMEOUT_S)
        terminal.until("AI  : Two plus three is five.\n")
        running.hear(SPEECH / "joke-slt.wav")
        terminal.until("User: Tell me a joke")
        terminal.read()
    shown = terminal.text.partition(RESTARTED.strip())[2].splitlines()
    spoken = [line for line in shown if line.startswith(("User:", "AI  :"))]
    assert [words(line) for line in spoken[:2]] == [words("User: What is two plus three?"), words("AI: Two plus three is five.")]
    assert words(spoken[2]) == words("User: Tell me a joke please")
