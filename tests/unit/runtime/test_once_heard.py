"""What is told at the beginning, or while the broker is away, is told once it can be heard."""

from __future__ import annotations

from actors.actor import Runtime
from actors.planes import BrokerActor
from bus.messages.reply import ReplyWaiting
from tests.fakes.audio_instance import Instance, Listener


class Teller:
    """Tells something while it is being built."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.tell("at the beginning")

    def tell(self, reason: str) -> None:
        self.runtime.once_heard(lambda: self.runtime.publish(ReplyWaiting(reason=reason)))

    def close(self) -> None:
        """Nothing is held."""


def test_nothing_that_is_told_while_nobody_can_hear_it_is_lost(instance: Instance) -> None:
    def heard() -> list[str]:
        return [message.body.reason for message in listener.messages if isinstance(message.body, ReplyWaiting)]

    instance.start("broker", BrokerActor)
    listener = Listener("reply.")
    instance.start("listener", listener)
    instance.until_ready()
    teller = instance.start("teller", Teller)
    assert isinstance(teller, Teller)
    instance.until(heard)
    assert teller.runtime._probe.heard
    teller.tell("at once")
    instance.until(lambda: heard() == ["at the beginning", "at once"])
    instance.stop("broker")
    instance.until(lambda: not teller.runtime._probe.heard)
    teller.tell("later")
    for _ in range(10):
        instance.turn()
    instance.start("broker", BrokerActor)
    instance.until(lambda: teller.runtime._probe.heard)
    assert not teller.runtime._unheard
