"""Who says the messages, and what the process behind the socket must have counted.

Each target says one lot at a time and returns when all of it was read: it asks a question that only the end of the lot can answer.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator

import zmq

from bus.addresses import Addresses, Lock
from bus.codec import Stamp, decode
from bus.errors import WireError
from bus.events import Publisher, Subscriber, configure, wait_until_heard
from bus.limits import FRAME_BYTES, FRAME_SAMPLES, MAX_EVENT_BYTES
from bus.messages.actor import ActorExited, LossTold, Probe
from bus.messages.audio import AudioCommit, AudioFrame, AudioHistory, AudioOpened, AudioSince
from bus.messages.base import Body, Message
from bus.messages.control import ControlRefused, ControlRestart, ControlStatus, ControlStop
from bus.messages.jobs import (
    JobDone,
    JobExtend,
    JobFailed,
    JobSettled,
    JobsQuery,
    JobSubmit,
    ParkedDrop,
    ParkedRetry,
    WorkerBye,
    WorkerHello,
)
from bus.messages.record import RecordStart
from bus.messages.voice import VoiceAsk, VoiceDuck, VoiceHold, VoiceProgress, VoiceSound, VoiceStop
from tests.fuzz.generate import Generator, Shot

ANSWER_S = 60.0
Context = zmq.Context[zmq.Socket[bytes]]


class Target:
    """One socket under attack. `said` counts messages by kind, `bad` those of them that the process must have counted."""

    name = ""
    counted_by = ""
    """The actor that counts them; empty: nobody can."""
    lot = 100
    share = 1.0
    """Of all messages."""

    def __init__(self) -> None:
        self.said: Counter[str] = Counter()
        self.bad: Counter[str] = Counter()
        self.elsewhere: Counter[str] = Counter()
        """Messages that an actor counts if they come to it, and if they are bad in its eyes, by actor."""

    def say(self) -> None:
        """Say one lot, and return once it was read."""
        raise NotImplementedError

    def note(self, kind: str, is_bad: bool) -> None:
        self.said[kind] += 1
        self.bad[kind] += is_bad

    def close(self) -> None:
        """Give the sockets back."""


class Router(Target):
    """A ROUTER that answers, spoken to by DEALERs of changing names."""

    accepted: tuple[type[Body], ...] = ()

    def __init__(self, context: Context, endpoint: str, seed: str) -> None:
        super().__init__()
        self._generator = Generator(f"{seed}:{self.name}", tuple(kind.topic for kind in self.accepted))
        self._context, self._endpoint = context, endpoint
        self._numbers = itertools.count()
        self._names = itertools.count()

    def say(self) -> None:
        identity = self.identity()
        with self._context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.IDENTITY, identity.encode())
            socket.connect(self._endpoint)
            stamp = Stamp(*(identity.split("/")[:2] if len(identity) < 64 else ("fuzz", "long")))
            said = 0
            while said < self.lot:
                shot = self._generator.shot()
                if self.is_forbidden(shot):
                    continue
                socket.send_multipart(shot.frames)
                self.note(shot.kind, shot.is_bad or self.is_refused(decode(shot.frames)))
                said += 1
                while socket.poll(0):
                    socket.recv_multipart()
            self._wait(socket, stamp)

    def _wait(self, socket: zmq.Socket[bytes], stamp: Stamp) -> None:
        question, is_answer = self.question(next(self._numbers))
        end_s = time.monotonic() + ANSWER_S
        while time.monotonic() < end_s:
            socket.send_multipart(stamp.pack(question))  # again, for its answer may find our queue full of other answers
            while socket.poll(2000):
                if is_answer(decode(socket.recv_multipart()).body):
                    return
        raise AssertionError(f"{self.name}: no answer within {ANSWER_S:.0f} s")

    def identity(self) -> str:
        """The next name. Not one that was used already: where names change hands, a ROUTER reads nothing from the second holder."""
        return self._generator.random.choice(("fuzz", "é\x01", "x" * 200)) + f"/{next(self._names)}"

    def is_forbidden(self, shot: Shot) -> bool:
        """A message that does what it says, and would end the test."""
        return False

    def is_refused(self, message: Message) -> bool:
        """Whether a message that follows the protocol is not for this socket."""
        return not isinstance(message.body, self.accepted)

    def question(self, number: int) -> tuple[Body, Callable[[Body], bool]]:
        """Something to ask, and how to know the answer to it."""
        raise NotImplementedError


class Jobs(Router):
    """The dispatcher's socket."""

    name = "jobs"
    counted_by = "dispatcher"
    share = 4.0
    lot = 300
    accepted = (JobSubmit, WorkerHello, WorkerBye, JobDone, JobFailed, JobExtend, JobsQuery, ParkedRetry, ParkedDrop)

    def question(self, number: int) -> tuple[Body, Callable[[Body], bool]]:
        lease = f"question {number}"
        question = JobFailed(lease=lease, job_id="no such job", reason="", retry=True)
        return question, lambda body: isinstance(body, JobSettled) and body.lease == lease


class Control(Router):
    """The launcher's socket."""

    name = "control"
    counted_by = "launcher"
    accepted = (ControlStatus, ControlStop, ControlRestart)

    def is_forbidden(self, shot: Shot) -> bool:
        body = None if shot.is_bad else decode(shot.frames).body
        return isinstance(body, ControlStop) or (isinstance(body, ControlRestart) and body.actor in _REAL)

    def question(self, number: int) -> tuple[Body, Callable[[Body], bool]]:
        actor = f"no-such-{number}."
        return ControlRestart(actor=actor), lambda body: isinstance(body, ControlRefused) and actor in body.reason


_REAL = ("mic", "vad", "whisper-1", "dialogue", "llm", "memory", "broker", "dispatcher")


class History(Router):
    """The socket of a source. The commits are of its own epoch, or they would not be looked at."""

    name = "audio hist"
    counted_by = "mic"
    lot = 60  # the source keeps 100 answers for us
    accepted = (AudioSince, AudioCommit)

    def __init__(self, context: Context, endpoint: str, seed: str) -> None:
        super().__init__(context, endpoint, seed)
        self._newest = 0
        with context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(endpoint)
            stamp = Stamp("fuzz", "1")
            while self._newest < 100 * FRAME_SAMPLES:
                socket.send_multipart(stamp.pack(AudioSince(first_sample=0)))
                assert socket.poll(10_000), f"{self.name}: no answer"
                body = decode(socket.recv_multipart()).body
                assert isinstance(body, AudioHistory)
                self._newest, self.epoch = body.newest_sample, body.epoch

    def question(self, number: int) -> tuple[Body, Callable[[Body], bool]]:
        wanted = self._newest - (5 + number % 50) * FRAME_SAMPLES

        def is_answer(body: Body) -> bool:
            assert isinstance(body, AudioHistory)
            self._newest = max(self._newest, body.newest_sample)
            return body.first_sample >= wanted

        return AudioSince(first_sample=wanted), is_answer


class Loudspeaker(Router):
    """The socket of the speaker."""

    name = "voice"
    counted_by = "speaker"
    lot = 60  # it keeps 100 answers for us
    accepted = (VoiceSound, VoiceAsk, VoiceStop, VoiceDuck, VoiceHold)

    def question(self, number: int) -> tuple[Body, Callable[[Body], bool]]:
        attempt = 1_000_000 + number  # newer than any that is drawn
        sound = VoiceSound(attempt=attempt, clause=0, first_sample=0, rate_hz=16_000, ends=True, last=True)
        return sound, lambda body: isinstance(body, VoiceProgress) and body.attempt == attempt


class FakeSource(Target):
    """A source of sound that feeds its reader garbage, on both of its sockets."""

    name = "audio reader"
    counted_by = "vad"
    lot = 50  # of each; a reader's queue of live frames holds 400
    stream = "fuzz"

    def __init__(self, context: Context, addresses: Addresses, seed: str) -> None:
        super().__init__()
        topics = (AudioFrame.topic, AudioHistory.topic)
        self._generator = Generator(f"{seed}:{self.name}", topics)
        self._stamp = Stamp("mic", "fuzz")
        self._lock_file = addresses.audio_file(self.stream, "lock")
        self._lock = Lock(self._lock_file, "fuzz")
        self._live, self._history = context.socket(zmq.PUB), context.socket(zmq.ROUTER)
        self._epochs = itertools.count()
        for socket, endpoint in ((self._live, addresses.audio_live(self.stream)), (self._history, addresses.audio_history(self.stream))):
            configure(socket)
            socket.bind(endpoint)
        self._reader = self._next_question()
        self._answer()
        self._ask_by_live_frame()  # so that it is known to be subscribed before anything is counted

    def say(self) -> None:
        for _ in range(self.lot):
            shot = self._generator.shot()
            self._history.send_multipart([self._reader, *shot.frames])
            self._note(shot)
        self._ask_by_history()
        for _ in range(self.lot):
            shot = self._generator.shot()
            self._live.send_multipart(shot.frames)
            self._note(shot)
        self._ask_by_live_frame()

    def _note(self, shot: Shot) -> None:
        # What a good message of ours is to the reader hangs on its state; only that it survives it is sure.
        is_bad = shot.is_bad or decode(shot.frames).topic not in (AudioFrame.topic, AudioHistory.topic)
        self.note(shot.kind, is_bad)
        self.elsewhere[self.counted_by] += not is_bad

    def _ask_by_history(self) -> None:
        """An answer that says there is more: the reader asks on."""
        self._drain()
        self._send(self._history_of(more=True))
        self._reader = self._next_question()
        self._answer()

    def _ask_by_live_frame(self) -> None:
        """A live frame of another epoch: the reader asks what came before it."""
        self._drain()
        end_s = time.monotonic() + ANSWER_S
        while not self._history.poll(50):
            assert time.monotonic() < end_s, f"{self.name}: asks nothing"
            frame = AudioFrame(epoch=f"live-{next(self._epochs)}", first_sample=0, captured_ns=1)
            self._live.send_multipart(self._stamp.pack(frame, stream=self.stream, payload=bytes(FRAME_BYTES)))
        self._reader = self._next_question()
        self._answer()

    def _answer(self) -> None:
        self._send(self._history_of(more=False))

    def _history_of(self, *, more: bool) -> AudioHistory:
        newest = 2 * FRAME_SAMPLES if more else FRAME_SAMPLES
        return AudioHistory(
            epoch=f"h-{next(self._epochs)}", first_sample=0, captured_ns=[1], newest_sample=newest, committed_sample=0, note="", ended=False
        )

    def _send(self, history: AudioHistory) -> None:
        self._history.send_multipart([self._reader, *self._stamp.pack(history, stream=self.stream, payload=bytes(FRAME_BYTES))])

    def _drain(self) -> None:
        """Read what the reader asked and committed meanwhile; answer its last question, so that it asks again."""
        asked = False
        while self._history.poll(20):
            _, *frames = self._history.recv_multipart()
            asked = asked or decode(frames).topic == AudioSince.topic
        if asked:
            self._answer()

    def _next_question(self) -> bytes:
        end_s = time.monotonic() + ANSWER_S
        while True:
            assert self._history.poll(1000) or time.monotonic() < end_s, f"{self.name}: no question within {ANSWER_S:.0f} s"
            if self._history.poll(0):
                peer, *frames = self._history.recv_multipart()
                if decode(frames).topic == AudioSince.topic:
                    return peer

    def close(self) -> None:
        self._live.close()
        self._history.close()
        self._lock_file.unlink()
        self._lock.release()


class Events(Target):
    """The broker's sockets. A subscriber of everything shows what came through; the actors count what they subscribe to."""

    name = "events"
    counted_by = "the subscriber"
    share = 3.0
    lot = 300

    def __init__(self, context: Context, addresses: Addresses, seed: str) -> None:
        super().__init__()
        topics = (ActorExited.topic, AudioOpened.topic, LossTold.topic, Probe.topic)
        self._generator = Generator(f"{seed}:{self.name}", topics, MAX_EVENT_BYTES)
        self._publisher = Publisher(context, addresses.events_in, Stamp("fuzz", "events"))
        self.seen_bad = 0
        self._subscriber = Subscriber(context, addresses.events_out, ("",), self._on_bad)
        wait_until_heard(self._publisher, self._subscriber, 20)
        self._socket = context.socket(zmq.PUB)  # its messages are as they are, without a stamp
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(addresses.events_in)
        self._numbers = itertools.count()
        self._wait()
        self.seen_bad = 0

    def catch_up(self) -> None:
        """Read what others have said meanwhile."""
        self._wait()

    def _on_bad(self, _error: WireError) -> None:
        self.seen_bad += 1

    def say(self) -> None:
        self.catch_up()  # or what the others have caused would fill our queue
        for _ in range(self.lot):
            shot = self._generator.shot()
            if not shot.is_bad and isinstance(decode(shot.frames).body, RecordStart):
                continue  # it would do what it says, in any file
            self._socket.send_multipart(shot.frames)
            self.note(shot.kind, shot.is_bad)
            if shot.is_bad:
                for topic, actor in ((ActorExited.topic, "dispatcher"), (AudioOpened.topic, "vad")):
                    self.elsewhere[actor] += shot.frames[0].startswith(topic.encode())
        self._wait()

    def _wait(self) -> None:
        nonce = f"fuzz-{next(self._numbers)}"
        end_s = time.monotonic() + ANSWER_S
        stamp = Stamp("fuzz", "probe")
        while True:
            self._socket.send_multipart(stamp.pack(Probe(nonce=nonce)))
            self._subscriber.socket.poll(20)
            for message in self._heard():
                if isinstance(message.body, Probe) and message.body.nonce == nonce:
                    return
            assert time.monotonic() < end_s, f"{self.name}: nothing comes through within {ANSWER_S:.0f} s"

    def _heard(self) -> Iterator[Message]:
        while self._subscriber.socket.poll(0):
            yield from self._subscriber.receive()

    def close(self) -> None:
        self._socket.close()
        self._publisher.close()
        self._subscriber.close()
