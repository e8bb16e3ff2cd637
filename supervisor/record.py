"""`supervisor record FILE`: have the recorder write everything into a file, until it is told to stop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIG_IGN, SIGHUP, SIGINT, SIGTERM, getsignal
from typing import Final

import zmq

from bus.addresses import Addresses
from bus.codec import Stamp
from bus.errors import EarshotError, NoInstance
from bus.events import Publisher, Subscriber, wait_until_heard
from bus.messages.base import Body
from bus.messages.record import REPEAT_S, RecordStart, RecordState, RecordStop
from supervisor.instance import is_running, require_running
from supervisor.loop import Signals

CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 5.0
ASK_INTERVAL_S: Final = 0.5
LOOK_INTERVAL_S: Final = 0.2


class RecorderLine:
    """A connection to the recorder, by events. Use it as a context."""

    def __init__(self, addresses: Addresses) -> None:
        """Raise NoInstance when no assistant is running."""
        require_running(addresses)
        self._addresses = addresses
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._publisher = Publisher(self._context, addresses.events_in, Stamp("record", str(os.getpid())))
        self._subscriber = Subscriber(self._context, addresses.events_out, (RecordState.topic,))
        wait_until_heard(self._publisher, self._subscriber, CONNECT_TIMEOUT_S)

    def start(self, path: Path, *, sound: bool, text: bool, attended: bool = False) -> RecordStart:
        """Begin to record; return what was asked. Raise EarshotError when that cannot be."""
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise EarshotError(f"the name {str(path)!a} cannot be used: take one in UTF-8") from None
        asked = RecordStart(path=str(path.absolute()), sound=sound, text=text, attended=attended)
        state = self._ask(asked, lambda state: state.path == asked.path)
        if state.state != "recording":
            raise EarshotError(state.detail)
        return asked

    def stop(self) -> RecordState:
        """Finish the recording; raise EarshotError when there is none, or it had failed."""
        state = self._ask(RecordStop(), lambda state: state.state in ("done", "failed", "off"))
        if state.state == "off":
            raise EarshotError("nothing is being recorded; `supervisor record FILE` begins")
        if state.state == "failed":
            raise EarshotError(state.detail)
        return state

    def watch(self, asked: RecordStart, until: Callable[[], bool]) -> RecordState | None:
        """Wait until then, or until the recording ends by itself: return how, or None. Raise NoInstance when the assistant ends."""
        repeat_s = time.monotonic() + REPEAT_S
        while not until():
            if time.monotonic() >= repeat_s:
                self._publisher.publish(asked)
                repeat_s = time.monotonic() + REPEAT_S
            self._subscriber.socket.poll(round(LOOK_INTERVAL_S * 1000))
            for message in self._subscriber.receive():
                state = message.body
                if isinstance(state, RecordState) and state.path == asked.path and state.state in ("done", "failed"):
                    return state
            if not is_running(self._addresses):
                raise NoInstance("the assistant has ended, and the recording with it")
        return None

    def _ask(self, question: Body, is_answer: Callable[[RecordState], bool]) -> RecordState:
        """Ask until it is answered: an event may be lost."""
        end_s = time.monotonic() + ANSWER_TIMEOUT_S
        while time.monotonic() < end_s:
            self._publisher.publish(question)
            self._subscriber.socket.poll(round(ASK_INTERVAL_S * 1000))
            for message in self._subscriber.receive():
                if isinstance(message.body, RecordState) and is_answer(message.body):
                    return message.body
        raise EarshotError("the recorder does not answer; see `supervisor status`")

    def __enter__(self) -> RecorderLine:
        return self

    def __exit__(self, *_error: object) -> None:
        self._publisher.close()
        self._subscriber.close()
        self._context.term()


def record(addresses: Addresses, path: Path, *, sound: bool, text: bool, seconds: float | None, say: Callable[[str], None]) -> None:
    """Record until Ctrl+C, or for so long. Raise EarshotError when it cannot be done to the end."""
    ends = (SIGINT, SIGTERM) if getsignal(SIGHUP) is SIG_IGN else (SIGINT, SIGTERM, SIGHUP)  # `nohup` has it ignored
    with Signals(ends) as signals, RecorderLine(addresses) as line:
        asked = line.start(path, sound=sound, text=text, attended=True)
        end_s = None if seconds is None else time.monotonic() + seconds
        say(f"Recording to {path}; Ctrl+C ends it." if seconds is None else f"Recording to {path} for {seconds:g} s.")
        ended = line.watch(asked, lambda: bool(signals.received()) or (end_s is not None and time.monotonic() >= end_s))
        finished = ended or line.stop()
    if finished.state == "failed":
        raise EarshotError(finished.detail)
    say(summary(finished))


def summary(state: RecordState) -> str:
    """What was recorded, in a line."""
    if state.more:
        return (
            f"{', '.join([state.path, *state.more])}: {state.size_bytes / 1e6:.1f} MB, with {state.messages:,} messages in the last; "
            f"the recorder was started again, and about {state.missing_ms / 1000:.1f} s are missing between the files"
        )
    return f"{state.path}: {state.messages:,} messages, {state.size_bytes / 1e6:.1f} MB"
