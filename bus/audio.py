"""The audio plane: a source that nothing can block, and a reader that misses nothing.

The source publishes live frames and keeps the last minute in a ring. The reader follows live; whenever the sample numbers
jump, it asks the ring for what lies between. See docs/architecture.md and docs/protocol.md.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import zmq

from bus.addresses import Addresses, Lock
from bus.codec import Stamp, decode
from bus.errors import AddressError, WireError
from bus.events import configure, received
from bus.lifesign import Death, LifeSign
from bus.limits import (
    AUDIO_HIGH_WATER_MARK,
    FRAME_BYTES,
    FRAME_SAMPLES,
    HISTORY_CHUNK_FRAMES,
    HISTORY_HIGH_WATER_MARK,
    SAMPLE_RATE_HZ,
)
from bus.messages.audio import AudioCommit, AudioFrame, AudioHistory, AudioSince
from bus.messages.base import Message
from bus.ring import Ring
from bus.sockets import send


@dataclass(frozen=True)
class Mark:
    """How far the reader of a stream has come, kept in a file so that a restarted source can go on from there."""

    epoch: str
    sample: int
    note: str

    @classmethod
    def read(cls, path: Path) -> Mark | None:
        """The mark in `path`, or None when there is none that can be read."""
        try:
            epoch, sample, note = path.read_text().split("\n", 2)
            return cls(epoch, int(sample), note)
        except (OSError, ValueError):
            return None

    def write(self, path: Path) -> None:
        temporary = path.with_suffix(".new")
        temporary.write_text(f"{self.epoch}\n{self.sample}\n{self.note}")
        temporary.replace(path)


class AudioSource:
    """One stream's sockets and its ring. Watch `history` and call `serve` when it can be read."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        addresses: Addresses,
        stream: str,
        stamp: Stamp,
        *,
        ring_s: int,
        can_wait: bool,
        on_bad: Callable[[WireError], None] | None = None,
    ) -> None:
        """Take the stream's name, or raise InstanceRunning. A source that can wait goes on at the mark of its predecessor.

        `on_bad` is told of each message that does not follow the protocol.
        """
        self.stream = stream
        self._on_bad = on_bad
        self._stamp = stamp
        self._can_wait = can_wait
        self._mark_file = addresses.audio_file(stream, "mark")
        self._lock = Lock(addresses.audio_file(stream, "lock"), f"the stream {stream!r} has a source already")
        mark = Mark.read(self._mark_file) if can_wait else None
        self.mark = mark or Mark(os.urandom(4).hex(), 0, "")
        if can_wait:
            try:
                self.mark.write(self._mark_file)  # at once: a successor that took another epoch would have every turn answered twice
            except OSError as error:
                raise AddressError(f"cannot write {self._mark_file}: {error.strerror}; make room there") from None
        self._life = None if can_wait else LifeSign(addresses.audio_file(stream, "life"), self.mark.epoch)
        self.ended = False
        self._hole_sample = self._hole_samples = 0
        self._ahead: Mark | None = None
        frames = ring_s * SAMPLE_RATE_HZ // FRAME_SAMPLES
        self._ring = Ring(frames * FRAME_SAMPLES, self.mark.sample)
        self._captured_ns = array("q", bytes(8 * frames))
        self._live = context.socket(zmq.PUB)
        self.history = context.socket(zmq.ROUTER)
        self._socket_files = [addresses.audio_file(stream, kind) for kind in ("live", "hist")]
        configure(self._live, AUDIO_HIGH_WATER_MARK)
        configure(self.history, HISTORY_HIGH_WATER_MARK)
        self._live.bind(addresses.audio_live(stream))
        self.history.bind(addresses.audio_history(stream))

    @property
    def predecessor(self) -> Death | None:
        """Where a source of this name that cannot wait was when it was killed; None when none was."""
        return self._life.predecessor if self._life else None

    @property
    def epoch(self) -> str:
        """Names this count of samples."""
        return self.mark.epoch

    @property
    def newest(self) -> int:
        """The number of the next sample."""
        return self._ring.newest

    @property
    def room_samples(self) -> int:
        """How much can be published before a sample is overwritten that the reader has not committed."""
        return self.mark.sample + len(self._captured_ns) * FRAME_SAMPLES - self._ring.newest

    @property
    def finished(self) -> bool:
        """The stream has ended and its reader is through with all of it."""
        return self.ended and self.mark.sample >= self._ring.newest

    def publish(self, first_sample: int, pcm: bytes, captured_ns: int) -> None:
        """Publish one frame of 480 samples. `first_sample` is a multiple of 480; a jump forward is a hole, kept as silence."""
        if first_sample - self._ring.newest >= self._ring_samples:
            self._hole_sample, self._hole_samples = self._ring.newest, first_sample - self._ring.newest
        for number in range(max(self._ring.newest, first_sample - self._ring_samples), first_sample + 1, FRAME_SAMPLES):
            self._captured_ns[self._slot(number)] = captured_ns
        self._ring.append(first_sample, pcm)
        if self._life:
            self._life.note(self._ring.newest, captured_ns)  # before anybody hears of it, so that it is never less than what was heard
        if self._ahead is not None and self._ahead.sample <= self.newest:
            mark, self._ahead = self._ahead, None
            self._commit(mark)
        self._send_live(AudioFrame(epoch=self.epoch, first_sample=first_sample, captured_ns=captured_ns), pcm)

    def end(self, captured_ns: int) -> None:
        """Mark the end of the stream."""
        self.ended = True
        self._send_live(AudioFrame(epoch=self.epoch, first_sample=self.newest, captured_ns=captured_ns, last=True), None)

    def serve(self) -> None:
        """Answer what readers have asked."""
        for peer, *frames in received(self.history):
            try:
                self._answer(peer, decode(frames))
            except WireError as error:
                if self._on_bad:
                    self._on_bad(error)

    def close(self) -> None:
        """Give the stream's name back. After a finished stream its files go too."""
        self._live.close()
        self.history.close()
        if self._life:
            self._life.remove()
        if self.finished:
            for path in (*self._socket_files, self._mark_file):
                path.unlink(missing_ok=True)
            self._lock.remove()
        else:
            self._lock.release()

    @property
    def _ring_samples(self) -> int:
        return len(self._captured_ns) * FRAME_SAMPLES

    def _slot(self, sample: int) -> int:
        return sample // FRAME_SAMPLES % len(self._captured_ns)

    def _send_live(self, frame: AudioFrame, pcm: bytes | None) -> None:
        send(self._live, self._stamp.pack(frame, stream=self.stream, payload=pcm))

    def _answer(self, peer: bytes, message: Message) -> None:
        match message.body:
            case AudioSince(epoch=epoch, first_sample=first_sample):
                self._send_history(peer, epoch, first_sample)
            case AudioCommit(epoch=epoch, sample=sample, note=note):
                if epoch == self.epoch:
                    self._commit(Mark(epoch, sample, note))
            case other:
                raise WireError(f"{other.topic}: not for an audio source")

    def _commit(self, mark: Mark) -> None:
        if mark.sample > self.newest:
            if not self._can_wait:
                raise WireError(f"{AudioCommit.topic}: of sample {mark.sample}, but {self.newest} is the newest")
            self._ahead = mark  # said to a predecessor that had come further: it holds once we are there
        elif mark.sample >= self.mark.sample:
            self.mark = mark
            if self._can_wait:
                with suppress(OSError):  # a full disk: a successor begins a little earlier, and names the same turns
                    self.mark.write(self._mark_file)

    def _send_history(self, peer: bytes, epoch: str, wanted: int) -> None:
        if wanted < 0:
            wanted = self.mark.sample
        elif epoch not in ("", self.epoch):
            wanted = 0
        wanted -= wanted % FRAME_SAMPLES  # whole frames only
        first, pcm = self._ring.read(wanted, HISTORY_CHUNK_FRAMES * FRAME_SAMPLES)
        times = [self._captured_ns[self._slot(first + offset)] for offset in range(0, len(pcm) // 2, FRAME_SAMPLES)]
        answer = AudioHistory(
            epoch=self.epoch,
            first_sample=first,
            captured_ns=times,
            newest_sample=self._ring.newest,
            committed_sample=self.mark.sample,
            note=self.mark.note,
            ended=self.ended,
            hole_sample=self._hole_sample,
            hole_samples=self._hole_samples,
            died_epoch=self.predecessor.epoch if self.predecessor else "",
            died_sample=self.predecessor.newest_sample if self.predecessor else 0,
        )
        send(self.history, [peer, *self._stamp.pack(answer, stream=self.stream, payload=pcm)])


@dataclass(frozen=True)
class Frame:
    """30 ms of sound: 480 samples of mono int16 PCM."""

    first_sample: int
    pcm: bytes
    captured_ns: int


@dataclass(frozen=True)
class Missing:
    """Samples that the source no longer had when it was asked."""

    first_sample: int
    samples: int
    cause: str = "overrun"
    """`overrun`, or `restart`: they died with their source."""
    told: int = 0
    """How many of them the source has told of itself: it never had them."""


@dataclass(frozen=True)
class NewEpoch:
    """The source counts anew: what follows has nothing to do with what was before."""

    epoch: str
    first_sample: int
    """Where reading begins: after the last commit of this reader's predecessor, or at the beginning."""
    note: str
    """What the reader's predecessor left with its last commit."""


@dataclass(frozen=True)
class End:
    """The stream is over."""

    sample: int


Heard = Frame | Missing | NewEpoch | End


class AudioReader:
    """Follows one stream. Watch `live` and `history` and call `read` when either can be read; call `tick` each second."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        addresses: Addresses,
        stream: str,
        stamp: Stamp,
        *,
        on_bad: Callable[[WireError], None] | None = None,
        on_unsent: Callable[[], None] | None = None,
    ) -> None:
        """`on_bad` is told of each message that does not follow the protocol, `on_unsent` of each commit for which there was no room."""
        self.stream = stream
        self._on_bad = on_bad
        self._on_unsent = on_unsent
        self._stamp = stamp
        self._epoch = ""
        self._next = -1
        self._ended = False
        self._asked = False
        self._moved = False
        self.live = context.socket(zmq.SUB)
        self.history = context.socket(zmq.DEALER)
        for socket, endpoint in ((self.live, addresses.audio_live(stream)), (self.history, addresses.audio_history(stream))):
            configure(socket, AUDIO_HIGH_WATER_MARK)
            socket.connect(endpoint)
        self.live.subscribe(b"")
        self.ask()

    def read(self) -> Iterator[Heard]:
        """Yield what can be had now, in order and without a hole that is not told of."""
        for socket in (self.history, self.live):
            for frames in received(socket):
                try:
                    yield from self._hear(decode(frames))
                except WireError as error:
                    if self._on_bad:
                        self._on_bad(error)

    def commit(self, sample: int, note: str = "") -> None:
        """Everything before `sample` will not be asked for again. `note` goes to this reader's successor."""
        try:
            send(self.history, self._stamp.pack(AudioCommit(epoch=self._epoch, sample=sample, note=note), stream=self.stream))
        except zmq.Again:  # the source is stopped, or gone; a later commit says it all
            if self._on_unsent:
                self._on_unsent()

    def tick(self) -> None:
        """Ask again when nothing has come for a second: a question, or the end of the stream, may have been lost, or a new source of
        the same name may have said all that it has to say before this reader was connected to it."""
        if not self._moved:
            self.ask()
        self._moved = False

    def close(self) -> None:
        self.history.setsockopt(zmq.LINGER, 100)  # the last commit
        self.live.close()
        self.history.close()

    def ask(self) -> None:
        """Ask the source for what comes next: at the beginning, and as soon as one knows that the source is a new one."""
        self._asked = True
        question = AudioSince(epoch=self._epoch, first_sample=self._next)
        try:
            send(self.history, self._stamp.pack(question, stream=self.stream))
        except zmq.Again:
            return  # no source, and many questions wait for it already

    def _hear(self, message: Message) -> Iterator[Heard]:
        match message.body:
            case AudioFrame() as frame:
                yield from self._hear_live(frame, message.payload)
            case AudioHistory() as history:
                yield from self._hear_history(history, message.payload or b"")
            case other:
                raise WireError(f"{other.topic}: not for an audio reader")

    def _hear_live(self, frame: AudioFrame, pcm: bytes | None) -> Iterator[Heard]:
        if frame.epoch == self._epoch and frame.first_sample < self._next:
            return  # had it from the history
        if frame.epoch != self._epoch or frame.first_sample > self._next:
            if not self._asked:
                self.ask()  # the history has this frame too, with what is missing before it
        elif frame.last:
            yield self._end()
        elif pcm is not None and len(pcm) == FRAME_BYTES:
            yield self._advance(pcm, frame.captured_ns)
        else:
            raise WireError(f"{frame.topic}: a frame of another length than {FRAME_BYTES} bytes")

    def _hear_history(self, history: AudioHistory, pcm: bytes) -> Iterator[Heard]:
        self._asked = False
        if len(pcm) != len(history.captured_ns) * FRAME_BYTES:
            raise WireError(f"{history.topic}: {len(pcm)} bytes for {len(history.captured_ns)} frames")
        if history.epoch != self._epoch:
            if history.died_epoch == self._epoch and history.died_sample > self._next >= 0:
                yield Missing(self._next, history.died_sample - self._next, "restart")
            first = history.committed_sample if self._next < 0 else 0
            self._epoch, self._next, self._ended = history.epoch, first, False
            yield NewEpoch(history.epoch, first, history.note)
        if history.first_sample > self._next:
            yield self._miss(history)
        for index, captured_ns in enumerate(history.captured_ns):
            if history.first_sample + index * FRAME_SAMPLES == self._next:
                yield self._advance(pcm[index * FRAME_BYTES : (index + 1) * FRAME_BYTES], captured_ns)
        if self._next < history.newest_sample:
            self.ask()
        elif history.ended and not self._ended:
            yield self._end()

    def _miss(self, history: AudioHistory) -> Missing:
        begin, end = self._next, history.first_sample
        hole_end = history.hole_sample + history.hole_samples
        told = max(0, min(end, hole_end) - max(begin, history.hole_sample))
        self._next = end
        return Missing(begin, end - begin, told=told)

    def _advance(self, pcm: bytes, captured_ns: int) -> Frame:
        frame = Frame(self._next, pcm, captured_ns)
        self._next += FRAME_SAMPLES
        self._moved = True
        return frame

    def _end(self) -> End:
        self._ended = True
        return End(self._next)
