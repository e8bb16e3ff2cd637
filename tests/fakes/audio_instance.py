"""Actors of one instance in one process, on real sockets, each with a runtime of its own that the test turns."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from actors.actor import Actor, ActorClass, Runtime
from actors.liveness import Phases
from actors.planes import BrokerActor, DispatcherActor
from bus.addresses import Addresses
from bus.jobs import Lease
from bus.messages.base import Message
from bus.notify import Notifier
from bus.settings import Settings
from tests.waiting import DEADLINE_S, pump_until

TURN_S = 0.005


def settings(**tables: dict[str, Any]) -> Settings:
    """The default settings, with these changes."""
    plain: dict[str, Any] = msgspec.to_builtins(Settings())
    for table, values in tables.items():
        plain[table].update(values)
    return msgspec.convert(plain, Settings)


class Instance:
    """Starts actors, turns all of them, and ends them."""

    def __init__(self, addresses: Addresses, environ: Mapping[str, str] | None = None) -> None:
        """`environ` may name a NOTIFY_SOCKET on which the actors tell how they are."""
        self.addresses = addresses
        self.environ = environ or {}
        self._lives = itertools.count(1)
        self._running: dict[str, tuple[Runtime, Actor]] = {}

    def runtime(self, name: str, with_settings: Settings) -> Runtime:
        runtime = Runtime(name, with_settings, self.addresses, Phases(), Notifier(self.environ))
        runtime.every(TURN_S, lambda: None)  # so that no turn of its loop takes longer
        return runtime

    def start(self, name: str, actor_class: ActorClass, with_settings: Settings | None = None) -> Actor:
        runtime = self.runtime(name, with_settings or Settings())
        try:
            actor = actor_class(runtime)
        except BaseException:
            runtime.context.destroy(linger=0)
            raise
        runtime._begin_probe()
        self._running[name] = runtime, actor
        return actor

    def start_planes(self) -> None:
        self.start("broker", BrokerActor)
        self.start("dispatcher", DispatcherActor)

    def kill(self, name: str) -> None:
        """End the actor without a word to anyone, as `kill -9` would, but for what the kernel does for its sockets."""
        runtime, _ = self._running.pop(name)
        runtime.context.destroy(linger=0)

    def kill_source(self, name: str) -> None:
        """The same for a source, whose lock the kernel would release."""
        _, actor = self._running[name]
        self.kill(name)
        actor._audio._lock.release()  # type: ignore[attr-defined]

    def stop(self, name: str) -> None:
        runtime, actor = self._running.pop(name)
        actor.close()
        runtime._close()

    def close(self) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)

    def ended(self, name: str) -> bool:
        """Whether the actor wants to leave its loop."""
        return self._running[name][0]._exit_code is not None

    def until_ready(self) -> None:
        """Turn all actors until each hears its own events."""
        self.until(lambda: all(runtime._probe.heard for runtime, _ in self._running.values()))

    def until(self, condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
        """Turn all actors until `condition` holds."""
        pump_until(condition, self.turn, deadline_s=deadline_s)

    def turn(self, without: str = "") -> None:
        """Turn each actor's loop once; `without` is stopped for the moment."""
        for name, (runtime, _) in list(self._running.items()):
            if name != without:
                runtime._turn_once()


class Worker:
    """A worker that keeps the leases it gets and ends them well. It does nothing ahead of time."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self.leases: list[Lease] = []

    def __call__(self, runtime: Runtime) -> Worker:
        runtime.work(self._queue, self._on_lease)
        return self

    def close(self) -> None:
        """Nothing is held."""

    def _on_lease(self, lease: Lease) -> None:
        if lease.ahead:
            lease.decline()
            return
        self.leases.append(lease)
        lease.done()


class Listener:
    """Keeps the events of some topics."""

    def __init__(self, *topics: str) -> None:
        self._topics = topics
        self.messages: list[Message] = []

    def __call__(self, runtime: Runtime) -> Listener:
        for topic in self._topics:
            runtime.subscribe(topic, self.messages.append)
        return self

    def close(self) -> None:
        """Nothing is held."""

    def topics(self) -> list[str]:
        return [message.topic for message in self.messages]
