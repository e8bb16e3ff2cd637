"""A sound card as the loudspeaker, through PortAudio.

PortAudio calls us on a thread of its own; there sound is only copied. The main loop supervises, as it does for the microphone
(`actors/mic/device.py`): callbacks that cease are the only sign of a device that stalled or went away, `stop()` may then hang for ever, and
new devices are seen only by a PortAudio that is started anew. What a device had been given when it went away counts as heard.

An open stream asks for silence a hundred times a second, so it is closed when nothing was said for a while, and opened when somebody begins
to think about an answer.
"""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from actors.mic.device import load_sounddevice
from bus.clock import Clock
from bus.errors import EarshotError
from bus.limits import SAMPLE_BYTES

if TYPE_CHECKING:
    from soxr import ResampleStream

LATENCY_S: Final = 0.05
"""Asked of the device: it is silent so long after it is told to be, and a main loop that is late is not heard."""
USUAL_RATE_HZ: Final = 22_050
LEAD_IN_S: Final = 0.1
STALLED_S: Final = 1.0
FILLED_S: Final = 0.25
FIRST_CALLBACK_S: Final = 3.0
"""A device may take as long to begin. Callbacks before FILLED_S only fill its buffer."""
RETRY_S: Final = 1.0
REST_S: Final = 10.0
"""Without anything to play for so long, the stream is closed."""
MOST_LATENCY_S: Final = 2.0
"""More than this a device does not mean: a Bluetooth loudspeaker says 0.3."""


class NoLoudspeaker(EarshotError):
    """There is none to be had just now; the message is for the user."""


class Format(NamedTuple):
    """What a stream is opened with."""

    device: int
    name: str
    rate_hz: int
    channels: int


class DeviceOutput:
    """Plays on the device that `wanted` names: an index, a part of a name, or nothing for the default."""

    def __init__(self, wanted: int | str, clock: Clock, load: Callable[[], Any] | None = None) -> None:
        """Raise SourceError, which is a SetupError, when PortAudio is missing. A missing device is waited for: see `trouble`."""
        self._wanted = wanted
        self._clock = clock
        self._sd = (load or load_sounddevice)()
        self._lock = threading.Lock()  # held for microseconds, by the callback too
        self._ring = bytearray()  # in the device's format
        self._in = self._out = self._heard = 0  # frames of the device: into the ring, out of it, heard
        self._zero = 0  # where the present sound begins, in the same count
        self._marks: deque[tuple[int, int]] = deque()  # until when how many frames will have been heard
        self._queued = 0  # samples of the present sound
        self._rate_hz = USUAL_RATE_HZ
        self._resampler: ResampleStream | None = None
        self._stream: Any = None
        self._format = Format(0, "", USUAL_RATE_HZ, 1)
        self._opened_for_hz = 0  # the rate that the stream was to have
        self._finished = False
        self._is_suspect = False  # the stream is dropped unless it goes on
        self._alive_ns = self._started_ns = self._supervised_ns = self._away_until_ns = 0
        self._retry_ns = 0
        self._used_ns = clock.monotonic_ns()
        self._is_resting = False
        self._trouble = ""
        self.supervise()

    @property
    def trouble(self) -> str:
        return self._trouble

    @property
    def delay_ns(self) -> int:
        return 0

    def wake(self) -> None:
        self._used_ns = self._clock.monotonic_ns()
        if self._is_resting:
            self._is_resting = False
            self._try_to_start()

    def begin(self, rate_hz: int) -> None:
        self._rate_hz, self._queued, self._zero = rate_hz, 0, self._in
        before = self._stream
        self.wake()
        if self._stream is not None and rate_hz != self._opened_for_hz and not self._ring:
            self._drop_stream()  # perhaps it can be had without conversion
            self._try_to_start()
        if self._stream is not before and self._stream is not None:
            self._lead_in()
        self._resampler = None

    def _lead_in(self) -> None:
        """Of a stream that has just been opened, the first moments may get lost: so they are silence."""
        frames = round(LEAD_IN_S * self._format.rate_hz)
        with self._lock:
            self._ring += bytes(frames * SAMPLE_BYTES * self._format.channels)
            self._in += frames
        self._zero = self._in

    def queue(self, pcm: bytes, *, last: bool) -> None:
        self.wake()
        self._queued += len(pcm) // SAMPLE_BYTES
        converted = self._converted(pcm, last)
        with self._lock:
            self._ring += converted
            self._in += len(converted) // (SAMPLE_BYTES * self._format.channels)

    @property
    def queued(self) -> int:
        return self._queued

    def heard(self) -> int:
        now_ns = self._clock.monotonic_ns()
        while self._marks and self._marks[0][0] <= now_ns:
            self._heard = self._marks.popleft()[1]
        if self._heard == self._in:
            return self._queued  # what the conversion still holds back is silence, or comes with the next piece
        return self._samples(self._heard)

    def take_back(self) -> int:
        with self._lock:
            self._ring.clear()
            self._in = self._out
            self._zero = min(self._zero, self._out)
        self._queued = min(self._queued, self._samples(self._out))
        self._resampler = None
        return self._queued

    def supervise(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._supervised_ns > STALLED_S * 1e9:
            self._away_until_ns = now_ns  # we were away ourselves
        self._supervised_ns = now_ns
        if self._stream is None:
            if now_ns >= self._retry_ns and not self._is_resting:
                self._try_to_start()
        elif now_ns - self._used_ns > REST_S * 1e9 and not self._is_suspect and self.heard() == self._queued:
            self._is_resting = True
            self._drop_stream()
        elif self._finished or self._is_stalled(now_ns):
            if self._is_suspect:
                self._give_up(self._trouble)
                return
            # It is dropped at the next look: that takes long where the server hangs, and this is to be told before.
            self._is_suspect = True
            self._trouble = f"the loudspeaker {self._format.name!r} went away; trying again each second"
        elif self._is_suspect:
            self._is_suspect, self._trouble = False, ""

    def close(self) -> None:
        self._drop_stream()

    def _samples(self, frames: int) -> int:
        """So many samples of the present sound are in these frames of the device."""
        return min(self._queued, round(max(0, frames - self._zero) * self._rate_hz / self._format.rate_hz))

    def _converted(self, pcm: bytes, last: bool) -> bytes:
        if self._rate_hz != self._format.rate_hz:
            import numpy as np
            import soxr

            if self._resampler is None:
                self._resampler = soxr.ResampleStream(self._rate_hz, self._format.rate_hz, 1, dtype="int16")
            pcm = self._resampler.resample_chunk(np.frombuffer(pcm, "<i2"), last=last).tobytes()
        if self._format.channels == 1:
            return pcm
        wide = array("h", bytes(len(pcm) * self._format.channels))
        for channel in range(self._format.channels):
            wide[channel :: self._format.channels] = array("h", pcm)
        return wide.tobytes()

    # -- on PortAudio's thread ----------------------------------------------------------------------------------------

    def _on_need(self, out: Any, frames: int, times: Any, _status: Any) -> None:
        """Copies, and notes until when that will have been heard."""
        self._alive_ns = self._clock.monotonic_ns()
        with self._lock:
            piece = bytes(self._ring[: len(out)])
            del self._ring[: len(piece)]
            self._out += len(piece) // (SAMPLE_BYTES * self._format.channels)
            taken = self._out
        out[: len(piece)] = piece
        out[len(piece) :] = bytes(len(out) - len(piece))
        if piece:
            latency_s = times.outputBufferDacTime - times.currentTime
            if not 0 < latency_s < MOST_LATENCY_S:  # not every driver knows
                latency_s = self._latency_s
            self._marks.append((self._alive_ns + round((latency_s + frames / self._format.rate_hz) * 1e9), taken))

    def _on_finished(self) -> None:
        self._finished = True

    # -- the stream ---------------------------------------------------------------------------------------------------

    def _is_stalled(self, now_ns: int) -> bool:
        patience_s = STALLED_S if self._alive_ns - self._started_ns > FILLED_S * 1e9 else FIRST_CALLBACK_S
        return now_ns - max(self._alive_ns, self._started_ns, self._away_until_ns) > patience_s * 1e9

    def _try_to_start(self) -> None:
        try:
            self._start()
        except (self._sd.PortAudioError, NoLoudspeaker, ValueError) as error:
            self._give_up(str(error) if isinstance(error, NoLoudspeaker) else f"the loudspeaker does not open ({error}); trying again")
        else:
            self._trouble = ""

    def _start(self) -> None:
        if self._trouble:  # PortAudio lists the devices once, when it starts; sounddevice has no public way to start it anew
            if self._sd._initialized:
                self._sd._terminate()
            self._sd._initialize()
        index = find_output(self._wanted, list(self._sd.query_devices()), default_output(self._sd))
        self._opened_for_hz = self._rate_hz
        self._change_to(find_format(self._sd, index, self._rate_hz))
        self._finished = False
        self._started_ns = self._clock.monotonic_ns()
        self._latency_s = LATENCY_S
        self._stream = self._sd.RawOutputStream(
            samplerate=self._format.rate_hz,
            device=index,
            channels=self._format.channels,
            dtype="int16",
            latency=LATENCY_S,
            callback=self._on_need,
            finished_callback=self._on_finished,
        )
        self._stream.start()
        self._latency_s = float(self._stream.latency)

    def _change_to(self, found: Format) -> None:
        """What waits in another format cannot be played: it is let go, and `queued` says so."""
        if found[2:] != self._format[2:]:
            self.take_back()
            self._zero = self._out - round(self._queued * found.rate_hz / self._rate_hz)
        self._format = found

    def _give_up(self, trouble: str) -> None:
        self._drop_stream()
        self._retry_ns = self._clock.monotonic_ns() + round(RETRY_S * 1e9)
        self._trouble = trouble

    def _drop_stream(self) -> None:
        """Abort, never stop: on a stalled device `stop` waits for ever."""
        stream, self._stream, self._is_suspect = self._stream, None, False
        if stream is None:
            return
        try:
            stream.abort()
            stream.close()
        except self._sd.PortAudioError:
            pass  # it was dead already, and it is gone now
        self._marks.clear()
        self._heard = self._out


def find_output(wanted: int | str, devices: Sequence[Mapping[str, Any]], default: int | None) -> int:
    """The index of the wanted output: by index, by name, by a part of the name, or the system's default. Raises NoLoudspeaker."""
    outputs = {index: str(device["name"]) for index, device in enumerate(devices) if device["max_output_channels"] > 0}
    if not outputs:
        raise NoLoudspeaker("there is no loudspeaker; connect one, or set speaker.output")
    if wanted == "":
        return default if default in outputs else next(iter(outputs))
    if isinstance(wanted, int) or wanted.isdecimal():
        if int(wanted) in outputs:
            return int(wanted)
    else:
        for test in (str.__eq__, str.__contains__):
            for index, name in outputs.items():
                if test(name.casefold(), wanted.casefold()):
                    return index
    there_are = ", ".join(f"{index} {name!r}" for index, name in outputs.items())
    raise NoLoudspeaker(f"there is no loudspeaker {wanted!r}; connect it, or set speaker.device to one of: {there_are}")


def default_output(sd: Any) -> int | None:
    """The index of the system's default output, if it has one."""
    try:
        return int(sd.query_devices(kind="output")["index"])
    except (sd.PortAudioError, ValueError):
        return None


def find_format(sd: Any, index: int, rate_hz: int) -> Format:
    """The rate that is wanted where the device can do that, else its own; one channel, or two. Raises `sd.PortAudioError`."""
    device = sd.query_devices(index)
    name, own_rate_hz, most = str(device["name"]), round(device["default_samplerate"]), int(device["max_output_channels"])
    formats = [Format(index, name, rate, channels) for rate in (rate_hz, own_rate_hz) for channels in (1, min(2, most))]
    for found in formats[:-1]:
        try:
            sd.check_output_settings(device=index, channels=found.channels, dtype="int16", samplerate=found.rate_hz)
        except sd.PortAudioError:
            continue
        return found
    return formats[-1]
