"""The actor `tts`: a worker of the queue `say`. It begins with the events of a reply, and its jobs bring what is missing."""

from __future__ import annotations

import queue
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import zmq

from actors.tts.barge_in import BargeIn
from actors.tts.engines import VoiceError, load
from actors.tts.speech import Key
from actors.tts.talk import TICK_S, Action, Ended, Make, Send, Talk, Tell
from bus.codec import Stamp, decode
from bus.errors import WireError
from bus.events import configure, monitor_event, received
from bus.limits import VOICE_HIGH_WATER_MARK
from bus.messages.base import Body, Message
from bus.messages.jobs import Job, Remember, Say
from bus.messages.reply import ReplyDelta, ReplyFinished, ReplyStarted
from bus.messages.voice import VoiceAsk, VoiceProgress, VoiceSay
from bus.timings import FIRST_SOUND, LAST_SOUND

if TYPE_CHECKING:
    from actors.actor import Runtime
    from actors.timers import Timer
    from bus.jobs import Lease

EXTEND_S: Final = 5.0
INTERRUPTED: Final = "interrupted"
"""The `detail` of a turn whose answer was cut; its reply is what was heard."""


class Tts:
    """The shell of `Talk`: the engine in a thread, the speaker at a socket, the leases."""

    def __init__(self, runtime: Runtime) -> None:
        """Raise SetupError for a voice that cannot be used."""
        self._runtime = runtime
        settings = runtime.settings.tts
        with runtime.phases.during("loading", settings.load_timeout_s):
            self._engine = load(settings, runtime.settings.whisper.language)
        self._talk = Talk(runtime.settings.whisper.language, runtime.clock.monotonic_ns)
        self._lease: Lease | None = None
        self._timer: Timer | None = None
        self._wanted: queue.SimpleQueue[Make | None] = queue.SimpleQueue()
        self._making: Make | None = None  # read by the thread: another one, or none, is wanted now
        self._is_failing = False
        self._stamp = Stamp(runtime.name, runtime.incarnation)
        self._socket = runtime.context.socket(zmq.DEALER)
        configure(self._socket, VOICE_HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # what a speaker that is not there was to say must not reach its successor
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._socket.connect(runtime.addresses.voice)
        self._thread = threading.Thread(target=self._make_all, name="tts-engine", daemon=True)
        self._thread.start()
        runtime.watch(self._socket, self._receive)
        runtime.watch(self._monitor, self._on_connected)
        runtime.subscribe("reply.", self._on_reply)
        runtime.subscribe(VoiceSay.topic, self._on_reply)
        runtime.work("say", self._on_lease)
        self._barge_in = BargeIn(runtime, self._talk, self._act) if runtime.settings.speaker.duplex == "full" else None
        runtime.every(EXTEND_S, self._extend)
        runtime.status(f"speaks with {settings.engine}")

    def close(self) -> None:
        """What is being said goes on for as long as the speaker has it; the job goes back to the dispatcher."""
        self._making = None
        self._wanted.put(None)
        self._engine.close()
        self._thread.join(1.0)
        self._socket.disable_monitor()  # before its reader is closed, as in `JobClient.close`
        self._monitor.close()
        self._socket.close()

    # -- facts --------------------------------------------------------------------------------------------------------

    def _on_reply(self, message: Message) -> None:
        turn, stream = message.envelope.turn, message.envelope.stream
        match message.body:
            case ReplyStarted(attempt=attempt):
                self._talk.started(Key(turn, attempt), stream)
            case ReplyDelta(attempt=attempt, index=index, text=text):
                self._talk.piece(Key(turn, attempt), stream, index, text)
            case VoiceSay(text=text):
                self._talk.whole(Key(turn, 0), stream, text)
            case ReplyFinished(attempt=attempt, text=text):
                self._talk.whole(Key(turn, attempt), stream, text)
            case _:
                return
        self._act()

    def _on_lease(self, lease: Lease) -> None:
        work = lease.job.work
        if not isinstance(work, Say):
            lease.failed(f"{lease.job.stage} is no job for the voice", retry=False)
            return
        self._lease = lease
        self._talk.owe(Key(lease.job.turn, work.attempt), lease.job.stream, work.then.reply)
        self._act()

    def _receive(self) -> None:
        for frames in received(self._socket):
            try:
                self._handle(decode(frames))
            except WireError as error:
                self._runtime.malformed(error)
        self._act()

    def _handle(self, message: Message) -> None:
        if not isinstance(message.body, VoiceProgress):
            raise WireError(f"{message.topic}: not for the voice")
        self._talk.progress(message.envelope.turn, message.envelope.incarnation, message.body)

    def _tick(self) -> None:
        self._send(VoiceAsk(), None)
        self._talk.tick()
        if self._barge_in is not None:
            self._barge_in.tick()
        self._act()

    def _on_connected(self) -> None:
        """There is a speaker, at first or again: how far is it?"""
        monitor_event(self._monitor)
        self._send(VoiceAsk(), None)

    def _extend(self) -> None:
        if self._lease is not None:
            self._lease.extend(self._lease.deadline_ms)

    # -- what is to be done -------------------------------------------------------------------------------------------

    def _act(self) -> None:
        while actions := self._talk.actions():
            for action in actions:
                self._do(action)
        making = self._talk.making
        if self._making is not None and self._making is not making:
            self._engine.give_up()  # or whatever is to be said next would wait for it
        self._making = making
        if self._talk.busy and self._timer is None:
            self._send(VoiceAsk(), None)  # it opens its device meanwhile, and what is known of it is news again
            self._timer = self._runtime.every(TICK_S, self._tick)
        elif not self._talk.busy and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _do(self, action: Action) -> None:
        match action:
            case Make():
                self._making = action
                self._wanted.put(action)
            case Send(key=key, stream=stream, body=body, pcm=pcm):
                self._send(body, pcm, turn=key.turn, stream=stream)
            case Tell(key=key, stream=stream, body=body):
                self._runtime.publish(body, turn=key.turn, stream=stream)
            case Ended():
                self._end(action)

    def _send(self, body: Body, pcm: bytes | None, *, turn: str = "", stream: str = "") -> None:
        try:
            self._socket.send_multipart(self._stamp.pack(body, turn=turn, stream=stream, payload=pcm), zmq.NOBLOCK)
        except zmq.Again:  # no speaker, or a full queue: what is missing is sent again
            if not isinstance(body, VoiceAsk):
                self._runtime.unsent()

    def _end(self, ended: Ended) -> None:
        lease = self._lease
        if lease is None:
            return
        job, work = lease.job, lease.job.work
        if not isinstance(work, Say) or Key(job.turn, work.attempt) != ended.key:
            return
        self._lease = None
        times = {FIRST_SOUND: ended.first_ns, LAST_SOUND: ended.last_ns}
        marks = {**job.marks, **{name: at_ns for name, at_ns in times.items() if at_ns}}
        if ended.how == "unheard":
            with self._runtime.log.about(job.turn):
                self._runtime.log.warning("an answer was not heard", reason=ended.reason)
        lease.done([Job(turn=job.turn, stream=job.stream, work=remembered(work.then, ended), revision=job.revision, marks=marks)])

    # -- the engine, in a thread of its own ---------------------------------------------------------------------------

    def _make_all(self) -> None:
        """Make one clause after the other; only `post` leads back."""
        post = self._runtime.post
        while (make := self._wanted.get()) is not None:
            try:
                for rate_hz, pcm in self._engine.synthesise(make.text):
                    post(partial(self._made, make, rate_hz, pcm))
                    if self._making is not make:
                        break  # nobody wants the rest
            except VoiceError as error:
                post(partial(self._failed, make, str(error)))
            except Exception as error:
                post(partial(_raise, error))  # a fault ends the actor, so that it is seen and started anew
                return
            else:
                post(partial(self._is_made, make))

    def _made(self, make: Make, rate_hz: int, pcm: bytes) -> None:
        self._talk.made(make, rate_hz, pcm)
        self._act()

    def _is_made(self, make: Make) -> None:
        if self._is_failing:
            self._is_failing = False
            self._runtime.status(f"speaks with {self._runtime.settings.tts.engine} again")
        self._talk.is_made(make)
        self._act()

    def _failed(self, make: Make, reason: str) -> None:
        if self._making is make:
            self._is_failing = True
            self._runtime.log.warning("no sound could be made", reason=reason)
            self._runtime.trouble(reason)
        self._talk.failed(make, reason)
        self._act()


def remembered(then: Remember, ended: Ended) -> Remember:
    """What is kept of a turn whose reply has been said. One that was not heard was shown, and stays whole."""
    if ended.how == "heard":
        return then
    what = INTERRUPTED if ended.how == "cut" else f"not spoken: {ended.reason}"
    detail = "; ".join(dict.fromkeys(filter(None, (then.detail, what))))  # the language model may have noticed it too
    return msgspec.structs.replace(then, detail=detail, reply=ended.text if ended.how == "cut" else then.reply)


def _raise(error: Exception) -> None:
    raise error
