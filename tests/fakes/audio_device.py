"""A PortAudio of paper: the part of the module `sounddevice` that the device source uses, moved by the test."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

Device = dict[str, Any]


def device(name: str, *, channels: int = 1, rate_hz: float = 48_000.0, formats: set[tuple[int, int]] | None = None) -> Device:
    """An input. `formats` are the (rate, channels) that it can deliver; without any, all are."""
    return {"name": name, "max_input_channels": channels, "default_samplerate": rate_hz, "formats": formats}


class FakePortAudio:
    """Stands in for the module. `plugged` is what is connected; `devices` what PortAudio saw when it was last started."""

    class PortAudioError(Exception):
        pass

    def __init__(self, *devices: Device, default: int | None = 0) -> None:
        self.plugged = list(devices)
        self.devices = list(devices)
        self.streams: list[FakeStream] = []
        self.broken = ""  # what opening any stream fails with
        self.starts = 1
        self._initialized = 1
        self._default = default

    def query_devices(self, index: int | None = None, kind: str | None = None) -> Any:
        if kind is not None:
            if self._default is None or self._default >= len(self.devices):
                raise self.PortAudioError("Error querying device -1")
            return {**self.devices[self._default], "index": self._default}
        return self.devices if index is None else self.devices[index]

    def check_input_settings(self, device: int, channels: int, dtype: str, samplerate: int) -> None:
        formats = self.devices[device]["formats"]
        if formats is not None and (samplerate, channels) not in formats:
            raise self.PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    def RawInputStream(self, **options: Any) -> FakeStream:  # noqa: N802 - the module's name for it
        if self.broken:
            raise self.PortAudioError(self.broken)
        self.streams.append(FakeStream(self, **options))
        return self.streams[-1]

    def _terminate(self) -> None:
        assert self._initialized == 1
        assert not any(stream.open for stream in self.streams), "PortAudio was ended under an open stream"
        self._initialized = 0

    def _initialize(self) -> None:
        self.devices = list(self.plugged)
        self._initialized = 1
        self.starts += 1


class FakeStream:
    """A stream that runs when the test says so."""

    def __init__(self, portaudio: FakePortAudio, *, callback: Callable[..., None], finished_callback: Callable[[], None], **format: Any):
        self._portaudio = portaudio
        self._callback = callback
        self._finished_callback = finished_callback
        self.format = format
        self.open = True
        self.running = False
        self.dead = False  # its server is gone: abort and close raise

    def start(self) -> None:
        self.running = True

    def abort(self) -> None:
        self.running = False
        if self.dead:
            raise self._portaudio.PortAudioError("Stream is stopped")

    def stop(self) -> None:
        raise AssertionError("stop() waits for ever on a stalled device")

    def close(self) -> None:
        self.open = False

    def deliver(self, pcm: bytes, *, overflow: bool = False) -> None:
        """The device sends a block."""
        assert self.running
        samples = len(pcm) // 2 // self.format["channels"]
        self._callback(memoryview(pcm), samples, None, SimpleNamespace(input_overflow=overflow))

    def finish(self) -> None:
        """The device's server dies."""
        self.running = False
        self._finished_callback()
