"""The recorder's ears: every stream of the instance, whole, and without a word to its source about what may be forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bus.addresses import is_locked
from bus.audio import AudioReader, Frame
from bus.codec import Stamp
from bus.limits import FRAME_SAMPLES
from bus.recording import Sound

if TYPE_CHECKING:
    from actors.actor import Runtime

FRAMES_PER_MESSAGE = 10
"""300 ms of sound in one recorded message: a tenth of the overhead, and a player hears no difference."""


class Listening:
    """Hears all streams that have a source."""

    def __init__(self, runtime: Runtime, on_sound: Callable[[Sound], None]) -> None:
        self._runtime = runtime
        self._on_sound = on_sound
        self._readers: dict[str, _Stream] = {}

    def look(self) -> None:
        """Find new streams, leave those that are over. To be called each second and when a source says that it has begun."""
        addresses = self._runtime.addresses
        streams = addresses.audio_streams()
        for stream in streams:
            if stream not in self._readers and is_locked(addresses.audio_file(stream, "lock")):
                self._readers[stream] = _Stream(self._runtime, stream, self._on_sound)
        for stream, reader in list(self._readers.items()):
            if stream in streams:
                reader.tick()
            else:
                reader.close()
                del self._readers[stream]

    def flush(self) -> None:
        """Hand on what is there, however little."""
        for reader in self._readers.values():
            reader.flush()

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()


class _Stream:
    """One stream, gathered into messages."""

    def __init__(self, runtime: Runtime, stream: str, on_sound: Callable[[Sound], None]) -> None:
        self._runtime = runtime
        self._stream = stream
        self._on_sound = on_sound
        self._epoch = ""
        self._frames: list[Frame] = []
        self._reader = AudioReader(
            runtime.context, runtime.addresses, stream, Stamp(runtime.name, runtime.incarnation), on_bad=runtime.malformed
        )
        for socket in (self._reader.live, self._reader.history):
            runtime.watch(socket, self._read)

    def tick(self) -> None:
        self._reader.tick()

    def flush(self) -> None:
        frames, self._frames = self._frames, []
        if frames:
            times = tuple(frame.captured_ns for frame in frames)
            self._on_sound(Sound(self._stream, self._epoch, frames[0].first_sample, times, b"".join(frame.pcm for frame in frames)))

    def close(self) -> None:
        self._read()
        self.flush()
        for socket in (self._reader.live, self._reader.history):
            self._runtime.unwatch(socket)
        self._reader.close()

    def _read(self) -> None:
        for heard in self._reader.read():
            if isinstance(heard, Frame):
                self._push(heard)
                continue
            self.flush()
            self._epoch = getattr(heard, "epoch", self._epoch)

    def _push(self, frame: Frame) -> None:
        if self._frames and frame.first_sample != self._frames[-1].first_sample + FRAME_SAMPLES:
            self.flush()
        self._frames.append(frame)
        if len(self._frames) >= FRAMES_PER_MESSAGE:
            self.flush()
