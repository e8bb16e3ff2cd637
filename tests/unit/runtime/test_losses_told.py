"""What an actor loses: told on the bus once per episode, and to its parent in numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from actors.actor import Runtime
from bus.addresses import Addresses
from bus.messages.actor import LossTold
from bus.messages.reply import ReplyWaiting
from supervisor.notify import NotifySocket
from tests.fakes.audio_instance import Instance, Listener


class Parent:
    """Hears what the actors of an instance tell."""

    def __init__(self, socket: NotifySocket) -> None:
        self.socket = socket
        self.losses: list[str] = []

    def hear(self) -> None:
        self.losses += [notice.values["X_EARSHOT_LOSSES"] for notice in self.socket.receive() if "X_EARSHOT_LOSSES" in notice.values]


class Bystander:
    """An actor that lets the test use its runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def parent(addresses: Addresses) -> Iterator[Parent]:
    socket = NotifySocket(str(addresses.notify_socket))
    yield Parent(socket)
    socket.close()


@pytest.fixture
def instance(addresses: Addresses, parent: Parent) -> Iterator[Instance]:
    instance = Instance(addresses, {"NOTIFY_SOCKET": str(addresses.notify_socket)})
    instance.start_planes()
    yield instance
    instance.close()


def told(listener: Listener) -> list[LossTold]:
    return [message.body for message in listener.messages if isinstance(message.body, LossTold)]


def test_a_thousand_losses_are_two_events_and_one_number(instance: Instance, parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.losses.QUIET_S", 0.1)
    listener = Listener("loss.")
    instance.start("listener", listener)
    bystander = instance.start("bystander", Bystander)
    assert isinstance(bystander, Bystander)
    instance.until_ready()
    for _ in range(1000):
        bystander.runtime.count("jobs-superseded", stream="mic")
    instance.until(lambda: len(told(listener)) == 2)
    assert told(listener) == [
        LossTold(cause="jobs-superseded", number=1, total=1),
        LossTold(cause="jobs-superseded", number=1000, total=1000, over=True),
    ]
    assert {message.envelope.stream for message in listener.messages} == {"mic"}
    parent.hear()
    assert parent.losses[-1] == "jobs-superseded=1000"
    assert len(parent.losses) < 10


def test_the_last_number_reaches_the_parent_when_the_actor_stops(instance: Instance, parent: Parent) -> None:
    bystander = instance.start("bystander", Bystander)
    assert isinstance(bystander, Bystander)
    instance.until_ready()
    bystander.runtime.count("jobs-parked")
    bystander.runtime.count("jobs-parked")
    instance.stop("bystander")
    parent.hear()
    assert parent.losses[-1] == "jobs-parked=2"


def test_what_a_subscriber_missed_is_counted_and_told(instance: Instance) -> None:
    """Numbers that were given and never sent: the same as dropped on the way."""
    listener, losses = Listener("reply."), Listener("loss.")
    instance.start("listener", listener)
    instance.start("recorder", losses)
    speaker = instance.start("llm", Bystander)
    assert isinstance(speaker, Bystander)
    instance.until_ready()
    speaker.runtime.publish(ReplyWaiting(reason="first"), stream="mic")
    for _ in range(25):
        speaker.runtime.events.stamp.pack(ReplyWaiting(reason="dropped"))
    speaker.runtime.publish(ReplyWaiting(reason="last"), stream="mic")
    instance.until(lambda: told(losses))
    assert told(losses) == [LossTold(cause="events-missed", number=25, total=25)]


def test_rubbish_on_any_socket_of_an_actor_is_counted(instance: Instance) -> None:
    losses = Listener("loss.")
    instance.start("recorder", losses)
    instance.until_ready()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.DEALER) as stranger:
        stranger.connect(instance.addresses.jobs)
        stranger.send_multipart([b"job.submit", b"\xc1"])
        instance.until(lambda: told(losses))
    assert [(message.envelope.sender, body.cause) for message, body in zip(losses.messages, told(losses), strict=True)] == [
        ("dispatcher", "messages-malformed")
    ]
