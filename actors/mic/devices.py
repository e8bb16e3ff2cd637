"""Which device is meant, and in what format it delivers. Pure, but for the question whether a format is possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actors.mic.sources import SourceError
from bus.limits import SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Format:
    """A device and what it will send: int16 at that rate, so many channels interleaved."""

    index: int
    name: str
    rate_hz: int
    channels: int


def find_device(wanted: int | str | None, devices: Sequence[Mapping[str, Any]], default: int | None) -> int:
    """Return the index of the wanted input: by index, by name, by a part of the name, or the system's default.

    `devices` is what `sounddevice.query_devices()` lists. Of several names that hold the text the first one is meant,
    unless one is equal to it. Raise SourceError, naming the inputs there are, when there is no such input.
    """
    inputs = {index: str(device["name"]) for index, device in enumerate(devices) if device["max_input_channels"] > 0}
    if not inputs:
        raise SourceError("there is no microphone; connect one")
    if wanted in (None, ""):
        return default if default in inputs else next(iter(inputs))
    if isinstance(wanted, int) or wanted.isdecimal():
        if int(wanted) in inputs:
            return int(wanted)
    else:
        for test in (str.__eq__, str.__contains__):
            for index, name in inputs.items():
                if test(name.casefold(), wanted.casefold()):
                    return index
    there_are = ", ".join(f"{index} {name!r}" for index, name in inputs.items())
    raise SourceError(f"there is no microphone {wanted!r}; connect it, or set mic.device to one of: {there_are}")


def default_device(sd: Any) -> int | None:
    """Return the index of the system's default input, if it has one."""
    try:
        return int(sd.query_devices(kind="input")["index"])
    except (sd.PortAudioError, ValueError):
        return None


def find_format(sd: Any, index: int) -> Format:
    """Return 16 kHz mono when the device can, else its own rate with as few channels as it allows.

    Raise `sd.PortAudioError` when it can neither.
    """
    device = sd.query_devices(index)
    name, own_rate, most = str(device["name"]), round(device["default_samplerate"]), int(device["max_input_channels"])
    formats = [Format(index, name, SAMPLE_RATE_HZ, 1)]
    formats += [Format(index, name, own_rate, channels) for channels in sorted({1, min(2, most), most})]
    for fmt in formats[:-1]:
        try:
            sd.check_input_settings(device=index, channels=fmt.channels, dtype="int16", samplerate=fmt.rate_hz)
        except sd.PortAudioError:
            continue
        return fmt
    sd.check_input_settings(device=index, channels=most, dtype="int16", samplerate=own_rate)
    return formats[-1]
