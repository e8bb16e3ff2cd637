"""The actor `mic`: one source of sound, streamed. `hear` starts further ones, each with a stream of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from actors.mic.pacer import Pacer
from actors.mic.sources import Frame, Source, SourceError
from bus.audio import AudioSource
from bus.codec import Stamp
from bus.limits import FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from bus.messages.audio import AudioClosed, AudioGap, AudioOpened

if TYPE_CHECKING:
    from actors.actor import Runtime
    from actors.timers import Timer
    from bus.clock import Clock
    from bus.settings import MicSettings

BURST_FRAMES = 100  # as many at once, then the loop sees to the readers
SUPERVISE_S = 0.25
REOPEN_S = 20.0  # a sound server that hangs can take this long to say so
FAREWELL_S = 0.1  # for the last event to leave


class Mic:
    """Moves frames from the source to the stream. A source that can wait is never ahead of its reader by more than the ring."""

    def __init__(self, runtime: Runtime) -> None:
        """Raise SetupError for a source that cannot be used, InstanceRunning when the stream has a source already."""
        self._runtime = runtime
        settings = runtime.settings.mic
        if settings.source != "device":
            runtime.exit_on_signal = os.EX_TEMPFAIL  # 0 would say that all of the sound was heard
        self._audio = AudioSource(
            runtime.context,
            runtime.addresses,
            settings.stream,
            Stamp(runtime.name, runtime.incarnation),
            ring_s=settings.ring_s,
            can_wait=settings.source == "file",  # what a dead predecessor read from a pipe is gone; a file is still there
            on_bad=runtime.malformed,
        )
        self._source = self._open_source(settings)
        self._is_device = settings.source == "device"
        self._pacer = Pacer(settings.pace)
        self._timer: Timer | None = None
        self._watched: int | None = None
        self._finished = False
        self._heard = False
        runtime.watch(self._audio.history, self._serve)
        runtime.once_heard(self._announce)
        self._tell()
        self._pump()
        if self._is_device:
            runtime.every(SUPERVISE_S, self._pump)

    def close(self) -> None:
        self._source.close()
        self._audio.close()

    def _open_source(self, settings: MicSettings) -> Source:
        try:
            source = open_source(settings, self._runtime.clock, self._audio.mark.sample)
            source.open()
        except SourceError:
            self._end_stream()
            raise
        return source

    def _end_stream(self) -> None:
        """A stream that never was leaves no trace."""
        self._audio.end(self._runtime.clock.monotonic_ns())
        self._audio.close()

    def _announce(self) -> None:
        self._runtime.publish(AudioOpened(epoch=self._audio.epoch, source=self._source.label), stream=self._audio.stream)

    def _serve(self) -> None:
        """Answer readers; their commits make room, and end a stream that is over."""
        self._audio.serve()
        if not self._audio.ended:
            self._pump()
        elif self._audio.finished:
            self._finish()

    def _pump(self) -> None:
        """Publish what can be published now, and see to it that this is called again when there is more."""
        fd = self._source.fileno()
        room = BURST_FRAMES if self._is_device else min(BURST_FRAMES, self._audio.room_samples // FRAME_SAMPLES)
        if fd is None:
            self._pump_file(room)
        elif room > 0:
            self._watch(fd)
            self._publish(self._read(room))
        else:
            self._watch(None)  # until a commit makes room, the pipe fills and its writer waits

    def _pump_file(self, room: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for _ in range(room):
            wait_s = self._pacer.wait_s(self._audio.newest, self._runtime.clock.monotonic_ns())
            if wait_s > 0:
                self._timer = self._runtime.after(wait_s, self._pump)
                return
            self._publish(self._read(1))
            if self._source.ended:
                return
        if room:
            self._timer = self._runtime.after(0, self._pump)

    def _read(self, max_frames: int) -> list[Frame]:
        if not self._is_device:
            try:
                return self._source.read(max_frames)
            except SourceError:
                self._end_stream()
                raise
        with self._runtime.phases.during("capturing", REOPEN_S):
            return self._source.read(max_frames)

    def _publish(self, frames: list[Frame]) -> None:
        now_ns = self._runtime.clock.monotonic_ns()
        for frame in frames:
            captured_ns = frame.captured_ns or now_ns
            if frame.first_sample > self._audio.newest:
                self._tell_gap(self._audio.epoch, self._audio.newest, frame.first_sample - self._audio.newest, "device")
            if self._is_device and not self._heard:
                self._heard = True
                self._tell_restart(captured_ns)
            self._audio.publish(frame.first_sample, frame.pcm, captured_ns)
        self._tell()
        if self._source.ended and not self._audio.ended:
            self._watch(None)
            self._audio.end(now_ns)
            if self._audio.finished:
                self._finish()

    def _tell_restart(self, captured_ns: int) -> None:
        """The first frame after a source that was killed: what fell in between is gone. What a dead source had not read from a pipe is
        not, so this is for devices."""
        died = self._audio.predecessor
        if died is not None:
            gap_ms = (captured_ns - died.captured_ns) / 1e6 - FRAME_MS
            self._tell_gap(died.epoch, died.newest_sample, max(0, round(gap_ms / FRAME_MS)) * FRAME_SAMPLES, "restart")

    def _tell_gap(self, epoch: str, first_sample: int, samples: int, cause: Literal["device", "restart"]) -> None:
        """Tell of samples that nobody will ever hear. A source that has just begun may not be connected yet."""
        stream = self._audio.stream
        self._runtime.count("audio-device-ms" if cause == "device" else "audio-restart-ms", samples * 1000 // SAMPLE_RATE_HZ, stream=stream)
        if samples:
            gap = AudioGap(epoch=epoch, first_sample=first_sample, samples=samples, cause=cause)
            self._runtime.once_heard(lambda: self._runtime.publish(gap, stream=stream))

    def _tell(self) -> None:
        for note in self._source.take_notes():
            self._runtime.log.warning(note)
            if self._source.trouble:
                self._runtime.trouble(note)
            else:
                self._runtime.status(note)

    def _watch(self, fd: int | None) -> None:
        if fd == self._watched:
            return
        if self._watched is not None:
            self._runtime.unwatch(self._watched)
        if fd is not None:
            self._runtime.watch(fd, self._pump)
        self._watched = fd

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        self._runtime.publish(AudioClosed(epoch=self._audio.epoch, samples=self._audio.newest), stream=self._audio.stream)
        self._runtime.after(FAREWELL_S, self._runtime.stop)


def open_source(settings: MicSettings, clock: Clock, start_sample: int) -> Source:
    """Return the source of the settings, not yet begun. Raise SourceError when they name none."""
    if settings.source == "file":
        from actors.mic.file import FileSource

        if not settings.file:
            raise SourceError("mic.file: the source is a file and none is named; set it to the path of a WAV or FLAC file")
        return FileSource(Path(settings.file).expanduser(), start_sample)
    if settings.source == "stdin":
        from actors.mic.stdin import StdinSource

        return StdinSource(sys.stdin.fileno())
    if settings.source == "device":
        from actors.mic.device import DeviceSource

        return DeviceSource(settings.device, clock)
    raise SourceError("mic.source is 'none': there is nothing to capture; set it to 'device', 'file' or 'stdin'")
