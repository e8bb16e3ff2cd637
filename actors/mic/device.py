"""A sound card as a source, through PortAudio.

PortAudio calls us on a thread of its own; there a block is only copied and the main loop woken. The main loop supervises:
PortAudio raises no error when a device stalls or its server dies, callbacks just cease, and after that `stop()` may hang for
ever. So the age of the last callback is watched, and a stream under suspicion is aborted and opened anew, once a second. New
devices are seen only by a PortAudio that is started anew.

Audio time stays true: while a device is away, the sample counter moves on by the time that passes. PulseAudio moves the
stream of an unplugged microphone to another one, be it the monitor of the loudspeaker: what comes then is not heard (`monitor.py`).
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from actors.mic.devices import Format, default_device, find_device, find_format
from actors.mic.monitor import MonitorWatch
from actors.mic.sources import Cutter, Frame, SourceError
from bus.clock import Clock
from bus.limits import FRAME_MS, SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from actors.mic.convert import Converter

STALLED_S = 1.0  # without a callback for so long, a stream is given up
FIRST_CALLBACK_S = 3.0  # a Bluetooth headset takes its time to begin
RETRY_S = 1.0
QUEUE_BLOCKS = 1_000  # 30 s; a main loop that is away for longer has been killed by then


class Block(NamedTuple):
    """What one callback brought: 30 ms of sound in the device's format."""

    arrival_ns: int
    hole_before: bool  # the device or the queue could not hold everything before it
    pcm: bytes


class DeviceSource:
    """Captures from the device that `wanted` names: an index, a part of a name, or nothing for the default."""

    def __init__(
        self,
        wanted: int | str | None,
        clock: Clock,
        load: Callable[[], Any] | None = None,
        watch: MonitorWatch | None = None,
    ) -> None:
        self._wanted = wanted
        self._watch = watch or MonitorWatch()
        self._clock = clock
        self._load = load or load_sounddevice
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._queue: deque[Block] = deque()
        self._cutter = Cutter()
        self._notes: list[str] = []
        self._stream: Any = None
        self._converter: Converter | None = None
        self._format = Format(0, "", SAMPLE_RATE_HZ, 1)
        self._hole = False  # what the next block brings does not follow on the one before it
        self._finished = False  # written by PortAudio's thread: the stream has come to an end
        self._alive_ns = 0  # written by the callback: the last sign of life
        self._started_ns = 0
        self._supervised_ns = self._away_until_ns = 0
        self._retry_ns = 0
        self._lost_ns = 0
        self._is_suspect = False  # the stream is dropped unless it goes on
        self._is_at_monitor = False
        self._trouble = ""
        self._last_arrival_ns = 0  # of the block that was last made into frames; 0 before the first

    @property
    def label(self) -> str:
        return self._format.name or "no microphone yet"

    @property
    def trouble(self) -> str:
        """Why there is no sound at the moment, in one line; empty while there is."""
        return self._trouble

    def open(self) -> None:
        """Raise SourceError when PortAudio is missing. A missing device is waited for: see `trouble`."""
        self._sd = self._load()
        self._supervised_ns = self._lost_ns = self._clock.monotonic_ns()
        self._try_to_start()

    def fileno(self) -> int:
        return self._wake

    def read(self, max_frames: int) -> list[Frame]:
        """Return the frames that have come in; also to be called a few times a second when none have, to supervise."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        frames: list[Frame] = []
        while self._queue and len(frames) < max_frames:
            frames += self._convert(self._queue.popleft())
        if self._queue:
            os.eventfd_write(self._wake, 1)
        else:
            self._supervise(self._clock.monotonic_ns())
        return frames

    @property
    def ended(self) -> bool:
        """Never: a device that is gone may come back."""
        return False

    def take_notes(self) -> list[str]:
        notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        self._drop_stream()
        os.close(self._wake)

    def _on_block(self, pcm: Any, _samples: int, _times: Any, status: Any) -> None:
        """Runs on PortAudio's thread: copies and wakes, nothing else."""
        self._alive_ns = self._clock.monotonic_ns()
        if self._watch.monitor or len(self._queue) >= QUEUE_BLOCKS:
            self._hole = True
            return
        self._queue.append(Block(self._alive_ns, self._hole or bool(status.input_overflow), bytes(pcm)))
        self._hole = False
        os.eventfd_write(self._wake, 1)

    def _on_finished(self) -> None:
        """Runs on PortAudio's thread."""
        self._finished = True
        os.eventfd_write(self._wake, 1)

    def _supervise(self, now_ns: int) -> None:
        """Notice a stream that is dead, start one that is missing."""
        if now_ns - self._supervised_ns > STALLED_S * 1e9 / 2:
            # We were away ourselves (stopped, or starved of the processor): the stream gets its time from now on.
            self._away_until_ns = now_ns
        self._supervised_ns = now_ns
        if self._stream is None:
            if now_ns >= self._retry_ns:
                self._try_to_start()
        elif self._finished or self._is_stalled(now_ns):
            if self._is_suspect:
                self._give_up(self._trouble)
                return
            # It is dropped at the next look: that takes long where the server hangs, and this is to be told before.
            self._is_suspect = self._hole = True
            self._complain(f"the microphone {self._format.name!r} stopped sending; trying again each second")
        elif self._is_suspect:
            self._is_suspect = False
            self._is_there_again(now_ns)
        else:
            self._supervise_monitor(now_ns)

    def _supervise_monitor(self, now_ns: int) -> None:
        """The server may have us hear the loudspeaker, and a microphone again."""
        monitor = self._watch.monitor
        if monitor:
            self._is_at_monitor = True
            self._complain(f"the microphone is gone, and the sound server offers {monitor!r} instead; deaf until there is one")
        elif self._is_at_monitor:
            self._is_at_monitor = False
            self._is_there_again(now_ns)

    def _is_stalled(self, now_ns: int) -> bool:
        patience_s = STALLED_S if self._alive_ns > self._started_ns else FIRST_CALLBACK_S
        return now_ns - max(self._alive_ns, self._started_ns, self._away_until_ns) > patience_s * 1e9

    def _try_to_start(self) -> None:
        try:
            self._start()
        except (self._sd.PortAudioError, SourceError, ValueError) as error:
            self._give_up(str(error) if isinstance(error, SourceError) else f"the microphone does not open ({error}); trying again")
            return
        self._is_there_again(self._clock.monotonic_ns())

    def _is_there_again(self, now_ns: int) -> None:
        if self._trouble:
            self._notes.append(f"the microphone {self._format.name!r} is there after {(now_ns - self._lost_ns) / 1e9:.1f} s")
        self._trouble = ""

    def _start(self) -> None:
        if self._trouble:
            self._look_again()
        index = find_device(self._wanted, list(self._sd.query_devices()), default_device(self._sd))
        self._format = find_format(self._sd, index)
        self._converter = _make_converter(self._format)
        self._finished, self._hole = False, True
        self._started_ns = self._clock.monotonic_ns()
        self._stream = self._sd.RawInputStream(
            samplerate=self._format.rate_hz,
            blocksize=self._format.rate_hz * FRAME_MS // 1000,
            device=index,
            channels=self._format.channels,
            dtype="int16",
            callback=self._on_block,
            finished_callback=self._on_finished,
        )
        self._stream.start()
        self._watch.begin(self._format.name)

    def _look_again(self) -> None:
        """PortAudio lists the devices once, when it starts; sounddevice has no public way to have it started anew."""
        if self._sd._initialized:
            self._sd._terminate()
        self._sd._initialize()

    def _give_up(self, trouble: str) -> None:
        self._drop_stream()
        self._retry_ns = self._clock.monotonic_ns() + round(RETRY_S * 1e9)
        self._complain(trouble)

    def _complain(self, trouble: str) -> None:
        if not self._trouble:
            self._lost_ns = self._clock.monotonic_ns()
        if trouble != self._trouble:
            self._notes.append(trouble)
        self._trouble = trouble

    def _drop_stream(self) -> None:
        """Abort, never stop: on a stalled device `stop` waits for ever. What is in the queue has been heard and stays."""
        stream, self._stream, self._is_suspect = self._stream, None, False
        self._is_at_monitor = False
        self._watch.end()
        if stream is None:
            return
        try:
            stream.abort()
            stream.close()
        except self._sd.PortAudioError:
            pass  # it was dead already, and it is gone now

    def _convert(self, block: Block) -> list[Frame]:
        """Number a block's frames, after a hole as long as the time in which nothing came."""
        frames: list[Frame] = []
        if self._last_arrival_ns and block.hole_before:
            missing_ms = (block.arrival_ns - self._last_arrival_ns) / 1e6 - FRAME_MS
            frames = self._cutter.skip(max(0, round(missing_ms / FRAME_MS)), block.arrival_ns)
        self._last_arrival_ns = block.arrival_ns
        pcm = block.pcm
        if self._converter is not None:
            pcm = self._converter.feed_pcm(pcm, self._format.channels)
        return frames + self._cutter.feed(pcm, block.arrival_ns)


def load_sounddevice() -> Any:
    """Import sounddevice. Raise SourceError, with what to install, when that or PortAudio is missing."""
    try:
        import sounddevice
    except ImportError as error:
        raise SourceError(f"sounddevice does not load ({error}); install it, or use a file or stdin as the source") from error
    except OSError as error:
        raise SourceError("PortAudio is missing; install it (Debian, Ubuntu: apt install libportaudio2)") from error
    return sounddevice


def _make_converter(fmt: Format) -> Converter | None:
    """None for the format that needs none, so that numpy is not loaded for it."""
    if (fmt.rate_hz, fmt.channels) == (SAMPLE_RATE_HZ, 1):
        return None
    from actors.mic.convert import Converter

    return Converter(fmt.rate_hz)
