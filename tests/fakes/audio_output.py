"""A PortAudio of paper for what is played: the part of the module `sounddevice` that the loudspeaker uses, moved by the test."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from bus.clock import ManualClock

Device = dict[str, Any]


def output(name: str, *, channels: int = 1, rate_hz: float = 48_000.0, formats: set[tuple[int, int]] | None = None) -> Device:
    """An output. `formats` are the (rate, channels) that it can play; without any, all are."""
    return {"name": name, "max_output_channels": channels, "default_samplerate": rate_hz, "formats": formats}


class FakeOutputs:
    """Stands in for the module. `plugged` is what is connected; `devices` what PortAudio saw when it was last started."""

    class PortAudioError(Exception):
        pass

    def __init__(self, clock: ManualClock, *devices: Device) -> None:
        self.clock = clock
        self.plugged = list(devices)
        self.devices = list(devices)
        self.streams: list[FakeOutputStream] = []
        self._initialized = 1

    def query_devices(self, index: int | None = None, kind: str | None = None) -> Any:
        if kind is not None:
            if not self.devices:
                raise self.PortAudioError("Error querying device -1")
            return {**self.devices[0], "index": 0}
        return self.devices if index is None else self.devices[index]

    def check_output_settings(self, device: int, channels: int, dtype: str, samplerate: int) -> None:
        formats = self.devices[device]["formats"]
        if formats is not None and (samplerate, channels) not in formats:
            raise self.PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    def RawOutputStream(self, **options: Any) -> FakeOutputStream:  # noqa: N802 - the module's name for it
        self.streams.append(FakeOutputStream(self, **options))
        return self.streams[-1]

    def _terminate(self) -> None:
        assert not any(stream.open for stream in self.streams), "PortAudio was ended under an open stream"
        self._initialized = 0

    def _initialize(self) -> None:
        self.devices = list(self.plugged)
        self._initialized = 1


class FakeOutputStream:
    """A stream that asks for sound when the test says so, and plays it `DELAY_S` later."""

    DELAY_S = 0.03

    def __init__(self, portaudio: FakeOutputs, *, callback: Callable[..., None], finished_callback: Callable[[], None], **format: Any):
        self._portaudio = portaudio
        self._callback = callback
        self._finished_callback = finished_callback
        self.format = format
        self.open = True
        self.latency = self.DELAY_S
        self.played = bytearray()

    def start(self) -> None:
        """It asks when the test says so."""

    def ask(self, seconds: float, *, knows_its_delay: bool = True) -> None:
        """One callback, for so much sound; the time moves on by that."""
        frames = round(seconds * self.format["samplerate"])
        out = bytearray(b"\x55" * frames * 2 * self.format["channels"])
        times = SimpleNamespace(currentTime=5.0, outputBufferDacTime=5.0 + self.DELAY_S if knows_its_delay else 0.0)
        self._callback(out, frames, times, SimpleNamespace(output_underflow=False))
        self.played += out
        self._portaudio.clock.advance_s(seconds)

    def abort(self) -> None:
        assert self.open
        self._finished_callback()

    def close(self) -> None:
        self.open = False
