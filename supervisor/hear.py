"""`supervisor hear`: sound files as a source of their own for the running assistant, and what it makes of them.

The source is a `mic` actor like any other, started by us. It ends once the segmenter has committed the end of the file, so
by then every utterance is a job. The jobs say when all is over, and the memory store says what came of it; events are
only the quick way to the same results, and may be lost. Our turns are known by their names, which begin with the stream and an
epoch that we choose: a clock that is set meanwhile, a killed source and a restarted assistant change nothing about them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import zmq

from bus.addresses import Addresses, Lock, is_locked
from bus.audio import Mark
from bus.codec import Stamp
from bus.errors import EarshotError, InstanceRunning, NoInstance
from bus.events import Publisher, Subscriber, catch_up, wait_until_heard
from bus.jobs import query_jobs
from bus.limits import SCHEMA_VERSION, STREAM_NAME_MAX
from bus.messages.base import Envelope, Message
from bus.messages.control import ActorInfo
from bus.messages.jobs import JobInfo
from bus.messages.reply import ReplyWaiting
from bus.messages.turn import TurnFinished, TurnRecord
from supervisor.children import CONSOLE, MIC
from supervisor.client import status
from supervisor.drain import is_open
from supervisor.instance import is_running, require_running
from supervisor.remembered import remembered
from supervisor.source import FileSource
from supervisor.views.conversation import TOPICS, Conversation

NAME: Final = "hear"
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 2.0
LOOK_INTERVAL_S = 0.1
HEALTH_INTERVAL_S = 2.0
FIELDS: Final = ("turn", "stream", "transcript", "reply", "state", "timings_ms")
NOT_NEEDED: Final = (CONSOLE, MIC)
TOLD_BY_EVENTS: Final = ("llm",)
RESTART_S = 10.0
"""Killed, the assistant may be started again within this time, and we go on; our turns are on its disk."""
STATUS_TIMEOUT_S = 1.0
SILENT_AFTER = 3
"""So many questions without an answer, and the user is told that the launcher hangs."""
FAILED_TURNS: Final = 3
"""Exit status: all was heard, but a turn ended in an apology."""


def hear_files(addresses: Addresses, files: Sequence[Path], *, pace: str, stream: str, as_json: bool) -> int:
    """Have all files heard, one after the other, and print their turns.

    Return the exit status: 0, 1 when a file could not be heard or a turn not be kept, else FAILED_TURNS when one was not answered.
    Raises NoInstance when no assistant is running, or it stops meanwhile; EarshotError when a part of it has failed.
    """
    require_running(addresses)
    for file in files:
        try:
            str(file).encode()
        except UnicodeEncodeError:
            raise EarshotError(f"the name of {str(file)!a} cannot be used: give the file a name in UTF-8") from None
    name, claim = claim_stream(addresses, stream)
    with zmq.Context() as context:
        session = Hearing(context, addresses, name, as_json=as_json)  # when it fails, we end, and the claim with us
        try:
            heard = [session.hear(file, pace) for file in files]  # one that cannot be heard does not keep us from the next
        finally:
            session.close()
            claim.release()
    if not all(heard):
        return 1
    return FAILED_TURNS if session.failed else 0


def claim_stream(addresses: Addresses, wanted: str) -> tuple[str, Lock]:
    """The stream of that name, or `NAME-2` and so on while another has it; ours until the lock is released.

    The source's own lock is not enough: between two files there is no source. Raises AddressError for a bad name.
    """
    for number in itertools.count(1):
        suffix = f"-{number}" if number > 1 else ""
        name = wanted[: STREAM_NAME_MAX - len(suffix)] + suffix
        if not is_locked(addresses.audio_file(name, "lock")):
            with contextlib.suppress(InstanceRunning):
                return name, Lock(addresses.audio_file(name, "claim"), f"the stream {name!r} is taken")
    raise AssertionError("there is always a next number")


class Hearing:
    """One run: a stream, the files that are heard on it, and the turns that come of them."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], addresses: Addresses, stream: str, *, as_json: bool) -> None:
        """Raises NoInstance when the assistant does not answer."""
        self._context = context
        self._addresses = addresses
        self._stream = stream
        self._as_json = as_json
        self._stamp = Stamp(NAME, str(os.getpid()))
        self._conversation = Conversation(colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ, status=False)
        self._health_due_s = 0.0
        self._stopped_s: float | None = None
        self._silences = 0
        self._troubles: dict[str, str] = {}
        self._ours = ""
        self._shown: set[str] = set()
        self.failed = 0
        """Turns that ended in an apology."""
        self._publisher = Publisher(context, addresses.events_in, self._stamp)
        self._subscriber = Subscriber(context, addresses.events_out, TOPICS)
        wait_until_heard(self._publisher, self._subscriber, CONNECT_TIMEOUT_S)

    def hear(self, file: Path, pace: str) -> bool:
        """Have one file heard and print its turns; return whether it could be."""
        before = len(self._shown)
        self._begin_count()
        problem = self._play(file, pace)
        if problem:
            sys.stderr.write(f"error: {problem}\n")
            return False
        self._until(lambda: not any(is_open(job.state) for job in self._jobs()))
        for record in remembered(self._addresses, turns=self._ours):
            self._finish(record)
        self._catch_up()
        kept = self._tell_unkept()
        if len(self._shown) == before:
            sys.stderr.write(f"{file}: no speech in it was long enough for a turn\n")
        return kept

    def _begin_count(self) -> None:
        """Choose the epoch that the source will count in, and so the names of our turns."""
        epoch = secrets.token_hex(4)
        self._ours = f"{self._stream}-{epoch}-"
        try:
            Mark(epoch, 0, "").write(self._addresses.audio_file(self._stream, "mark"))
        except OSError as error:
            raise EarshotError(f"cannot write in {self._addresses.audio_dir}: {error.strerror}; see to that disk") from None

    def close(self) -> None:
        self._publisher.close()
        self._subscriber.close()

    def _play(self, file: Path, pace: str) -> str:
        """Run the source to its end; return what was wrong with it, or nothing."""
        source = FileSource(self._addresses, self._stream, file, name=NAME, pace=pace)
        try:
            self._until(lambda: source.over, source.step)
        finally:
            source.close()
        if not source.problem and source.note:
            sys.stderr.write(f"{source.note}\n")
        return source.problem

    # -- what comes of it -----------------------------------------------------------------------------------------

    def _until(self, over: Callable[[], bool], step: Callable[[], None] = lambda: None) -> None:
        """Show what comes until it is over, and `step` meanwhile. Raises EarshotError when it will never be."""
        while not over():
            step()
            self._subscriber.socket.poll(round(LOOK_INTERVAL_S * 1000))
            self._receive()
            if time.monotonic() >= self._health_due_s:
                self._check_health()
                self._health_due_s = time.monotonic() + HEALTH_INTERVAL_S
        self._receive()

    def _tell_unkept(self) -> bool:
        """Tell of turns that are over but could not be remembered; return whether there were none."""
        unkept = [job for job in self._jobs() if not is_open(job.state) and job.turn not in self._shown]
        for job in unkept:
            self._shown.add(job.turn)
            sys.stderr.write(f"error: the turn {job.turn} was given up at the stage {job.stage}: {job.reason}\n")
        return not unkept

    def _catch_up(self) -> None:
        """What was ignored, or too short, is in no store: only its event tells of it, and may come after its job is over."""
        self._receive()
        with contextlib.suppress(NoInstance):  # the broker is gone, and the events with it
            self._show(catch_up(self._publisher, self._subscriber, CONNECT_TIMEOUT_S))

    def _receive(self) -> None:
        self._show(self._subscriber.receive())

    def _show(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if message.envelope.stream != self._stream or not self._is_ours(message.envelope.turn):
                continue
            if isinstance(message.body, TurnFinished):
                self._finish(message.body.record)
            elif self._as_json:
                if isinstance(message.body, ReplyWaiting):
                    sys.stderr.write(f"waiting for the language model: {message.body.reason}\n")
            else:
                self._write(self._conversation.render(message))

    def _finish(self, record: TurnRecord) -> None:
        if record.turn in self._shown:
            return
        self._shown.add(record.turn)
        self.failed += record.state == "failed"
        if self._as_json:
            self._write(json.dumps({field: getattr(record, field) for field in FIELDS}, ensure_ascii=False) + "\n")
        else:
            self._write(self._conversation.render(_as_event(record)))

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def _is_ours(self, turn: str) -> bool:
        """Whether an event of our stream is to be shown: not what an earlier run left, nor what was shown to its end."""
        return not turn or (turn.startswith(self._ours) and turn not in self._shown)

    def _jobs(self) -> list[JobInfo]:
        """Our jobs. A dispatcher that is being restarted is waited for."""
        while True:
            try:
                found = query_jobs(self._context, self._addresses.jobs, self._stamp, self._stream, ANSWER_TIMEOUT_S)
            except NoInstance:
                self._check_health()
            else:
                return [job for job in found if job.turn.startswith(self._ours)]

    def _check_health(self) -> None:
        """Raise EarshotError when the turns would never come."""
        if not is_running(self._addresses):
            self._wait_for_restart()
            return
        if self._stopped_s is not None:
            self._stopped_s = None
            sys.stderr.write("the assistant is running again\n")
        try:
            actors = status(self._addresses, STATUS_TIMEOUT_S).actors
        except NoInstance:
            self._silences += 1
            if self._silences == SILENT_AFTER:  # the actors may be well all the same
                sys.stderr.write("the launcher does not answer; still waiting for the turns (Ctrl+C ends this)\n")
            return
        self._silences = 0
        for failed in missing_parts(actors):
            raise EarshotError(f"{failed.actor} has failed: {failed.detail}; revive it with `supervisor restart {failed.actor}`")
        self._tell_troubles(actors)

    def _wait_for_restart(self) -> None:
        now_s = time.monotonic()
        if self._stopped_s is None:
            self._stopped_s = now_s
            sys.stderr.write(f"the assistant has stopped; waiting {RESTART_S:.0f} s for it to be started again\n")
        if now_s - self._stopped_s > RESTART_S:
            raise NoInstance("the assistant has stopped; what it had heard is answered when it is started again")

    def _tell_troubles(self, actors: Sequence[ActorInfo]) -> None:
        for actor in actors:
            trouble = "" if actor.actor in (*NOT_NEEDED, *TOLD_BY_EVENTS) else actor.trouble
            if trouble and self._troubles.get(actor.actor) != trouble:
                sys.stderr.write(f"{actor.actor}: {trouble}\n")
            self._troubles[actor.actor] = trouble


def missing_parts(actors: Sequence[ActorInfo]) -> list[ActorInfo]:
    """The failed actors of a kind of which none is left: `whisper-1` is no loss while there is a `whisper-2`."""
    alive = {_kind(actor.actor) for actor in actors if actor.state != "failed"}
    return [actor for actor in actors if actor.state == "failed" and _kind(actor.actor) not in alive and actor.actor not in NOT_NEEDED]


def _kind(actor: str) -> str:
    return re.sub(r"-\d+$", "", actor)


def _as_event(record: TurnRecord) -> Message:
    """A record as the event that tells of it, for the renderer."""
    envelope = Envelope(
        version=SCHEMA_VERSION,
        sender=NAME,
        incarnation="",
        seq=0,
        mono_ns=time.monotonic_ns(),
        wall_ns=record.wall_ns,
        turn=record.turn,
        stream=record.stream,
    )
    return Message(TurnFinished.topic, envelope, TurnFinished(record=record))
