"""The device source on the real PortAudio and PulseAudio."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from actors.mic.device import DeviceSource
from actors.mic.sources import Frame
from bus.clock import SystemClock
from bus.limits import FRAME_SAMPLES
from tests.fakes.audio_speech import jfk_pcm
from tests.waiting import DEADLINE_S

if TYPE_CHECKING:
    from tests.fakes.virtual_microphone import VirtualMicrophone


@pytest.fixture
def source(microphone: VirtualMicrophone) -> Iterator[DeviceSource]:
    device = DeviceSource("pulse", SystemClock())
    device.open()
    yield device
    device.close()


def hear(source: DeviceSource, until: Callable[[list[Frame]], bool]) -> list[Frame]:
    """Run the source as a main loop would, until what was heard is enough."""
    frames: list[Frame] = []
    deadline = time.monotonic() + DEADLINE_S
    while not until(frames):
        assert time.monotonic() < deadline, f"{len(frames)} frames; {source.trouble or 'no trouble'}"
        select.select([source.fileno()], [], [], 0.25)
        frames += source.read(100)
    return frames


def sound_of(frames: list[Frame]) -> bytes:
    return b"".join(frame.pcm for frame in frames)


def test_a_sentence_comes_out_of_the_microphone_bit_for_bit(source: DeviceSource, microphone: VirtualMicrophone) -> None:
    sentence = jfk_pcm()[: 3 * 32_000].strip(b"\0")
    sentence = sentence[: len(sentence) // 2 * 2]
    hear(source, until=lambda frames: len(frames) > 10)
    microphone.say(sentence)
    frames = hear(source, until=lambda frames: sentence in sound_of(frames))
    assert [frame.first_sample - frames[0].first_sample for frame in frames] == [n * FRAME_SAMPLES for n in range(len(frames))]


def test_a_killed_server_is_noticed_and_its_successor_is_heard(source: DeviceSource, microphone: VirtualMicrophone) -> None:
    before = hear(source, until=lambda frames: len(frames) > 10)
    microphone.kill()
    hear(source, until=lambda _: source.trouble != "")
    gone_at = time.monotonic()
    microphone.start()
    after = hear(source, until=lambda frames: len(frames) > 10)
    gone_s = time.monotonic() - gone_at
    assert source.trouble == ""
    assert any("is there after" in note for note in source.take_notes())
    hole_s = (after[0].first_sample - before[-1].first_sample) / 16_000
    assert 0.03 < hole_s < gone_s + 25
    microphone.say(b"\x11\x22" * 4_800)
    hear(source, until=lambda frames: b"\x11\x22" * 4_000 in sound_of(frames))


def test_a_stalled_microphone_is_noticed_and_heard_again_when_it_goes_on(source: DeviceSource, microphone: VirtualMicrophone) -> None:
    hear(source, until=lambda frames: len(frames) > 10)
    microphone.stall()
    hear(source, until=lambda _: source.trouble != "")
    assert "stopped sending" in source.trouble
    microphone.resume()
    hear(source, until=lambda frames: len(frames) > 10)
    microphone.say(b"\x11\x22" * 16_000)
    hear(source, until=lambda frames: b"\x11\x22" * 4_000 in sound_of(frames))
