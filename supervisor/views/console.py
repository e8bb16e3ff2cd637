"""`python -m supervisor.views.console`: shows the conversation on its standard output, as a child of the launcher.

A process of its own: a terminal that is held (Ctrl+S) blocks who writes to it, and that must not be the launcher.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time

import zmq

from bus.addresses import Addresses
from bus.codec import Stamp
from bus.errors import NoInstance, WireError
from bus.events import LoopBack, Publisher, Subscriber, catch_up
from bus.losses import CHECK_INTERVAL_S, Cause, Losses
from bus.messages.base import Message
from bus.notify import Notifier
from bus.parent import die_with_parent
from supervisor.loop import Loop, Signals
from supervisor.views.conversation import TOPICS, Conversation

PROBE_INTERVAL_S = 0.02
LAST_WORDS_S = 1.0
NAME = "console"
RESTARTED = "\nThe console was started again. What it missed: `supervisor memory list`.\n"


class Console:
    """Subscribes to the conversation and writes it down until SIGTERM, or until nobody reads it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], addresses: Addresses, conversation: Conversation) -> None:
        self._conversation = conversation
        self._notifier = Notifier()
        stamp = Stamp(NAME, os.environ.get("EARSHOT_INCARNATION", str(os.getpid())))
        self._publisher = Publisher(context, addresses.events_in, stamp)
        self._subscriber = Subscriber(context, addresses.events_out, TOPICS, self._on_bad, self._on_missed)
        self._losses = Losses(time.monotonic_ns)
        self._probe = LoopBack(self._publisher, self._subscriber)
        self._loop = Loop()

    def run(self) -> None:
        """Return after a signal. Raises OSError when the terminal is gone."""
        self._write(RESTARTED if self._is_restarted() else "Starting...\n")
        self._loop.watch(self._subscriber.socket, self._receive)
        self._probe.begin()
        self._probe.ask()
        self._loop.every(PROBE_INTERVAL_S, self._ask)
        with Signals((signal.SIGTERM, signal.SIGINT)) as signals:
            self._loop.watch(signals.fileno(), lambda: None)
            while not signals.received():
                self._loop.turn()
        self._receive()
        with contextlib.suppress(NoInstance):  # the broker is gone too
            for message in catch_up(self._publisher, self._subscriber, LAST_WORDS_S):  # what was said before the stop
                self._write(self._conversation.render(message))
        self._write(self._conversation.end())

    @staticmethod
    def _is_restarted() -> bool:
        """The launcher counts the lives of a child in its incarnation: `ab12.2`."""
        return os.environ.get("EARSHOT_INCARNATION", "").rpartition(".")[2] not in ("", "1")

    def _ask(self) -> None:
        """Probe until the probe is heard, then say so until the launcher has room for it."""
        if not self._probe.heard:
            self._probe.ask()
        elif self._notifier.tell(READY="1") or "NOTIFY_SOCKET" not in os.environ:
            self._loop.cancel(self._ask)

    def _receive(self) -> None:
        for message in self._subscriber.receive():
            if not self._probe.hear(message):
                self._write(self._conversation.render(message))

    def _on_bad(self, _error: WireError) -> None:
        self._count("messages-malformed", 1)

    def _on_missed(self, _message: Message, number: int) -> None:
        self._count("events-missed", number)

    def _count(self, cause: Cause, number: int) -> None:
        told = self._losses.count(cause, number)
        if told is not None:
            self._publisher.publish(told.body)
            self._notifier.tell(X_EARSHOT_LOSSES=self._losses.to_text())
            self._loop.every(CHECK_INTERVAL_S, self._check_losses)

    def _check_losses(self) -> None:
        for told in self._losses.check():
            self._publisher.publish(told.body)
        self._notifier.tell(X_EARSHOT_LOSSES=self._losses.to_text())
        if not self._losses.in_episode:
            self._loop.cancel(self._check_losses)

    def _write(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Show the conversation; return 0 when the terminal goes away: then there is nothing more to do."""
    die_with_parent()
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # of a process group of its own, it may write all the same
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    conversation = Conversation(show_timings="--no-timings" not in arguments, colour=colour)
    try:
        Console(zmq.Context(), Addresses.resolve(), conversation).run()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush does not fail as well
        return 0
    return os.EX_TEMPFAIL  # a signal: the launcher stops us, or somebody else did, and then there is to be another


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
