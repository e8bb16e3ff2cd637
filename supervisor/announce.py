"""The launcher's events: `actor.state`, `actor.exited`. They wait while there is no broker, so that none is lost to a restart."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import zmq

from bus.addresses import Addresses
from bus.codec import Stamp
from bus.errors import WireError
from bus.events import LoopBack, Publisher, Subscriber
from bus.messages.base import Body

PROBE_INTERVAL_S = 0.02
MAX_WAITING = 1000


class Announcer:
    """Publishes, once it knows by a probe that the broker forwards what it says."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], addresses: Addresses, stamp: Stamp, on_bad: Callable[[WireError], None]
    ) -> None:
        self._publisher = Publisher(context, addresses.events_in, stamp)
        self._subscriber = Subscriber(context, addresses.events_out, on_bad=on_bad)
        self._probe = LoopBack(self._publisher, self._subscriber)
        self._waiting: deque[Body] = deque(maxlen=MAX_WAITING)
        self.probing = False

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """To be watched; then call `receive`."""
        return self._subscriber.socket

    @property
    def heard(self) -> bool:
        """Whether what is published now arrives."""
        return self._probe.heard

    def broker_up(self) -> None:
        """There is a new broker: probe it; `ask` is to be called every PROBE_INTERVAL_S while `probing`."""
        self._probe.begin()
        self.probing = True
        self.ask()

    def broker_down(self) -> None:
        """There is no broker: keep what is to be said."""
        self._probe.heard = self.probing = False

    def ask(self) -> None:
        self._probe.ask()

    def receive(self) -> None:
        for message in self._subscriber.receive():
            self._probe.hear(message)
        if self.probing and self._probe.heard:
            self.probing = False
            while self._waiting:
                self._publisher.publish(self._waiting.popleft())

    def publish(self, body: Body) -> None:
        """Publish now, or as soon as there is a broker."""
        if self._probe.heard:
            self._publisher.publish(body)
        else:
            self._waiting.append(body)

    def close(self) -> None:
        self._publisher.close()
        self._subscriber.close()
