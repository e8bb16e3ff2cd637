"""Which device is meant, and in what format it delivers."""

from __future__ import annotations

import pytest

from actors.mic.devices import default_device, find_device, find_format
from actors.mic.sources import SourceError
from tests.fakes.audio_device import Device, FakePortAudio, device

DEVICES = [
    device("HDMI out", channels=0),
    device("USB Audio: Jabra Speak (hw:1,0)"),
    device("USB Audio: Blue Yeti (hw:2,0)", channels=2),
    device("pulse", channels=32),
    device("default", channels=32),
]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ("", 4),
        (None, 4),
        (2, 2),
        ("2", 2),
        ("yeti", 2),
        ("USB Audio", 1),
        ("pulse", 3),
        ("default", 4),
    ],
)
def test_a_device_is_found_by_index_by_a_part_of_its_name_or_as_the_default(wanted: int | str | None, index: int) -> None:
    assert find_device(wanted, DEVICES, default=4) == index


def test_without_a_default_the_first_input_is_taken() -> None:
    assert find_device("", DEVICES, default=None) == 1


@pytest.mark.parametrize("wanted", ["rode", 0, 9, "9"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(wanted: int | str) -> None:
    with pytest.raises(SourceError, match=r"set mic.device to one of: 1 'USB Audio: Jabra Speak \(hw:1,0\)', 2 .*, 4 'default'"):
        find_device(wanted, DEVICES, default=4)


def test_a_machine_without_any_microphone_says_so() -> None:
    with pytest.raises(SourceError, match="there is no microphone; connect one"):
        find_device("", [device("HDMI out", channels=0)], default=None)


def test_the_default_is_what_portaudio_says_if_it_has_one() -> None:
    assert default_device(FakePortAudio(*DEVICES, default=3)) == 3
    assert default_device(FakePortAudio(*DEVICES, default=None)) is None


@pytest.mark.parametrize(
    ("microphone", "rate_hz", "channels"),
    [
        (device("any", channels=2), 16_000, 1),
        (device("own rate", rate_hz=44_100.0, formats={(44_100, 1)}), 44_100, 1),
        (device("stereo", channels=2, formats={(48_000, 2)}), 48_000, 2),
        (device("array", channels=8, formats={(48_000, 8)}), 48_000, 8),
    ],
)
def test_sixteen_kilohertz_mono_is_preferred_then_its_own_rate_with_few_channels(microphone: Device, rate_hz: int, channels: int) -> None:
    fmt = find_format(FakePortAudio(microphone), 0)
    assert (fmt.rate_hz, fmt.channels, fmt.name) == (rate_hz, channels, microphone["name"])


def test_a_device_that_can_nothing_raises_what_portaudio_raises() -> None:
    portaudio = FakePortAudio(device("broken", channels=2, formats=set()))
    with pytest.raises(FakePortAudio.PortAudioError, match="Invalid sample rate"):
        find_format(portaudio, 0)
