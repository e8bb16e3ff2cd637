"""Events through a real broker: ready means ready, and what is lost is counted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

import pytest
import zmq

from bus.addresses import Addresses
from bus.broker import Broker
from bus.codec import Stamp
from bus.errors import NoInstance
from bus.events import Publisher, Subscriber, catch_up, configure, wait_until_heard
from bus.messages.actor import BrokerBeat, Probe
from bus.messages.base import Message
from bus.messages.reply import ReplyWaiting
from tests.waiting import pump_until

Context = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
def broker(addresses: Addresses, context: Context) -> Iterator[Broker]:
    broker = Broker(context, addresses.events_in, addresses.events_out)
    yield broker
    broker.close()


def test_after_the_probe_came_back_no_event_is_missed(addresses: Addresses, context: Context, broker: Broker) -> None:
    publisher = Publisher(context, addresses.events_in, Stamp("a", "1"))
    subscriber = Subscriber(context, addresses.events_out, ("reply.",))
    wait_until_heard(publisher, subscriber, 10)
    for number in range(500):
        publisher.publish(ReplyWaiting(reason=str(number)), turn="t")
    heard: list[Message] = []
    pump_until(lambda: len(heard) == 500, lambda: subscriber.socket.poll(10), lambda: heard.extend(subscriber.receive()))
    assert [getattr(message.body, "reason", "") for message in heard] == [str(number) for number in range(500)]
    publisher.close()
    subscriber.close()


def test_only_the_wanted_topics_arrive(addresses: Addresses, context: Context, broker: Broker) -> None:
    publisher = Publisher(context, addresses.events_in, Stamp("a", "1"))
    subscriber = Subscriber(context, addresses.events_out, ("reply.",))
    wait_until_heard(publisher, subscriber, 10)
    publisher.publish(BrokerBeat())
    publisher.publish(ReplyWaiting(reason="x"))
    heard: list[Message] = []
    pump_until(lambda: heard, lambda: subscriber.socket.poll(10), lambda: heard.extend(subscriber.receive()))
    assert [message.topic for message in heard] == ["reply.waiting"]
    publisher.close()
    subscriber.close()


def test_without_a_broker_the_wait_ends_with_advice(addresses: Addresses, context: Context) -> None:
    publisher = Publisher(context, addresses.events_in, Stamp("a", "1"))
    subscriber = Subscriber(context, addresses.events_out)
    with pytest.raises(NoInstance, match="is the assistant running"):
        wait_until_heard(publisher, subscriber, 0.1)
    publisher.close()
    subscriber.close()


def test_a_reader_that_fell_behind_knows_how_much_it_missed(addresses: Addresses, context: Context, broker: Broker) -> None:
    publisher = Publisher(context, addresses.events_in, Stamp("a", "1"))
    gaps: list[int] = []
    subscriber = Subscriber(context, addresses.events_out, ("reply.",), on_lost=lambda _message, count: gaps.append(count))
    wait_until_heard(publisher, subscriber, 10)
    publisher.publish(ReplyWaiting(reason="first"))
    heard: list[Message] = []
    pump_until(lambda: heard, lambda: subscriber.socket.poll(10), lambda: heard.extend(subscriber.receive()))
    for _ in range(25):
        publisher.stamp.pack(ReplyWaiting(reason="never sent"))
    publisher.publish(ReplyWaiting(reason="last"))
    pump_until(lambda: len(heard) == 2, lambda: subscriber.socket.poll(10), lambda: heard.extend(subscriber.receive()))
    assert gaps == [25]
    publisher.close()
    subscriber.close()


def test_rubbish_on_the_bus_is_counted_and_never_reaches_a_handler(addresses: Addresses, context: Context, broker: Broker) -> None:
    publisher = Publisher(context, addresses.events_in, Stamp("a", "1"))
    bad: list[str] = []
    subscriber = Subscriber(context, addresses.events_out, ("reply.",), on_bad=lambda error: bad.append(str(error)))
    wait_until_heard(publisher, subscriber, 10)
    with context.socket(zmq.PUB) as stranger:
        stranger.connect(addresses.events_in)
        heard: list[Message] = []
        pump_until(
            lambda: len(bad) >= 3,
            lambda: stranger.send_multipart([b"reply.delta", b"\xc1"]),
            lambda: subscriber.socket.poll(10),
            lambda: heard.extend(subscriber.receive()),
        )
    assert heard == []
    publisher.close()
    subscriber.close()


class UnfairBroker:
    """Passes probes on at once, and after each of them one other event."""

    def __init__(self, addresses: Addresses, context: Context) -> None:
        self._publishers, self._subscribers = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
        for socket, endpoint in ((self._publishers, addresses.events_in), (self._subscribers, addresses.events_out)):
            configure(socket)
            socket.bind(endpoint)
        self.held: deque[list[bytes]] = deque()
        self.wanted: set[bytes] = set()
        """The topics that somebody is subscribed to."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            if self._subscribers.poll(1):
                frames = self._subscribers.recv_multipart()
                (self.wanted.add if frames[0][:1] == b"\x01" else self.wanted.discard)(frames[0][1:])
                self._publishers.send_multipart(frames)
            if self._publishers.poll(1):
                frames = self._publishers.recv_multipart()
                if not frames[0].startswith(Probe.topic.encode()):
                    self.held.append(frames)
                    continue
                self._subscribers.send_multipart(frames)
                if self.held:
                    self._subscribers.send_multipart(self.held.popleft())

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._publishers.close()
        self._subscribers.close()


def test_who_catches_up_hears_all_that_was_on_its_way_though_a_probe_overtakes_it(addresses: Addresses, context: Context) -> None:
    broker = UnfairBroker(addresses, context)
    other, publisher = (Publisher(context, addresses.events_in, Stamp(name, "1")) for name in ("other", "asker"))
    subscriber = Subscriber(context, addresses.events_out, ("reply.",))
    wait_until_heard(other, subscriber, 10)
    for number in range(5):
        other.publish(ReplyWaiting(reason=str(number)))
    pump_until(lambda: len(broker.held) == 5)
    heard = catch_up(publisher, subscriber, 10)
    assert [getattr(message.body, "reason", "") for message in heard] == [str(number) for number in range(5)]
    pump_until(lambda: broker.wanted == {b"reply."})  # no question is left behind in the broker
    for end in (other, publisher, subscriber, broker):
        end.close()
