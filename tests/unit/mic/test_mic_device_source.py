"""The device source on a PortAudio of paper: every way in which a microphone goes away and comes back."""

from __future__ import annotations

import array
import select
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from actors.mic import device as device_module
from actors.mic.device import DeviceSource, load_sounddevice
from actors.mic.monitor import MonitorWatch
from actors.mic.sources import Frame, SourceError
from bus.clock import ManualClock
from bus.limits import FRAME_BYTES, FRAME_SAMPLES
from tests.fakes.audio_device import FakePortAudio, device

Start = Callable[..., tuple[DeviceSource, FakePortAudio, ManualClock]]


@pytest.fixture
def start() -> Iterator[Start]:
    sources: list[DeviceSource] = []

    def start_one(
        *devices: dict[str, object], wanted: int | str = "", watch: MonitorWatch | None = None
    ) -> tuple[DeviceSource, FakePortAudio, ManualClock]:
        clock, portaudio = ManualClock(monotonic_ns=10**9), FakePortAudio(*devices)
        sources.append(DeviceSource(wanted, clock, lambda: portaudio, watch))
        sources[-1].open()
        return sources[-1], portaudio, clock

    yield start_one
    for source in sources:
        source.close()


def block(number: int) -> bytes:
    return array.array("h", [number] * FRAME_SAMPLES).tobytes()


def wakes(source: DeviceSource) -> bool:
    return bool(select.select([source.fileno()], [], [], 0)[0])


def run(source: DeviceSource, clock: ManualClock, seconds: float) -> list[Frame]:
    """Time passes, and the main loop supervises four times a second."""
    frames: list[Frame] = []
    for _ in range(round(seconds * 4)):
        clock.advance_s(0.25)
        frames += source.read(100)
    return frames


def deliver(portaudio: FakePortAudio, clock: ManualClock, *numbers: int) -> None:
    for number in numbers:
        clock.advance_s(0.03)
        portaudio.streams[-1].deliver(block(number))


def test_blocks_become_frames_with_the_time_of_their_capture(start: Start) -> None:
    source, portaudio, clock = start(device("mic"))
    assert not wakes(source)
    deliver(portaudio, clock, 1, 2)
    assert wakes(source)
    assert source.read(100) == [
        Frame(0, block(1), 1_030_000_000),
        Frame(FRAME_SAMPLES, block(2), 1_060_000_000),
    ]
    assert not wakes(source)
    assert portaudio.streams[0].format["samplerate"] == 16_000
    assert portaudio.streams[0].format["blocksize"] == FRAME_SAMPLES


def test_what_is_not_read_yet_wakes_again(start: Start) -> None:
    source, portaudio, clock = start(device("mic"))
    deliver(portaudio, clock, 1, 2, 3)
    assert len(source.read(2)) == 2
    assert wakes(source)
    assert len(source.read(2)) == 1


def test_another_rate_and_two_channels_are_converted(start: Start) -> None:
    source, portaudio, clock = start(device("mic", channels=2, rate_hz=48_000.0, formats={(48_000, 2)}))
    time_s = np.arange(48_000) / 48_000
    tone = np.rint(8_000 * np.sin(2 * np.pi * 300 * time_s)).astype("<i2")
    stereo = np.stack([tone, tone], axis=1).tobytes()
    size = 1440 * 4
    for at in range(0, len(stereo) - size + 1, size):
        clock.advance_s(0.03)
        portaudio.streams[0].deliver(stereo[at : at + size])
    heard = np.frombuffer(b"".join(frame.pcm for frame in source.read(100)), "<i2").astype(float)
    expected = 8_000 * np.sin(2 * np.pi * 300 * np.arange(len(heard)) / 16_000)
    assert len(heard) > 15_000
    assert np.abs(heard - expected)[500:-500].max() < 40


def test_a_stalled_device_is_aborted_and_opened_again(start: Start) -> None:
    source, portaudio, clock = start(device("mic"))
    deliver(portaudio, clock, 1)
    source.read(100)
    run(source, clock, 0.75)
    assert len(portaudio.streams) == 1
    run(source, clock, 0.5)
    assert source.take_notes() == ["the microphone 'mic' stopped sending; trying again each second"]
    assert portaudio.streams[0].open, "what is the matter is told before the stream is dropped, which may hang"
    run(source, clock, 0.25)
    assert not portaudio.streams[0].open
    assert "stopped sending" in source.trouble
    run(source, clock, 1.0)
    assert len(portaudio.streams) == 2
    assert source.trouble == ""
    assert source.take_notes() == ["the microphone 'mic' is there after 1.2 s"]


def test_a_device_that_goes_on_by_itself_is_kept_and_the_time_in_between_is_a_hole(start: Start) -> None:
    source, portaudio, clock = start(device("mic"))
    deliver(portaudio, clock, 1)
    (first,) = source.read(100)
    run(source, clock, 1.25)
    assert "stopped sending" in source.trouble
    deliver(portaudio, clock, 2)
    (second,) = source.read(100)
    assert second.first_sample - first.first_sample == 43 * FRAME_SAMPLES  # 1.28 s later
    assert source.trouble == ""
    assert len(portaudio.streams) == 1


def test_a_stream_whose_server_dies_is_noticed_at_once(start: Start) -> None:
    source, portaudio, clock = start(device("mic"))
    deliver(portaudio, clock, 1)
    source.read(100)
    portaudio.streams[0].dead = True
    portaudio.streams[0].finish()
    assert wakes(source)
    source.read(100)
    assert "stopped sending" in source.trouble


def test_the_last_blocks_before_the_end_are_heard(start: Start) -> None:
    source, portaudio, clock = start(device("mic"))
    deliver(portaudio, clock, 1, 2)
    portaudio.streams[0].finish()
    assert [frame.pcm for frame in source.read(100)] == [block(1), block(2)]


def test_the_time_without_a_device_is_a_hole_in_the_samples(start: Start) -> None:
    source, portaudio, clock = start(device("mic"))
    deliver(portaudio, clock, 1)
    portaudio.streams[0].finish()
    (first,) = source.read(100)
    run(source, clock, 3.0)
    deliver(portaudio, clock, 2, 3)
    second, third = source.read(100)
    assert second.first_sample - first.first_sample == 101 * FRAME_SAMPLES  # 3.03 s later
    assert third.first_sample - second.first_sample == FRAME_SAMPLES


def test_while_the_server_hands_out_the_loudspeaker_nothing_is_heard_and_that_is_a_hole(start: Start) -> None:
    watch = MonitorWatch()
    source, portaudio, clock = start(device("mic"), watch=watch)
    deliver(portaudio, clock, 1)
    (first,) = source.read(100)
    watch.monitor = "Monitor of Speakers"
    deliver(portaudio, clock, *[9] * 50)
    assert run(source, clock, 0.25) == []
    assert source.trouble == "the microphone is gone, and the sound server offers 'Monitor of Speakers' instead; deaf until there is one"
    assert source.take_notes() == [source.trouble]
    watch.monitor = ""
    deliver(portaudio, clock, 2)
    (second,) = source.read(100)
    assert second.pcm == block(2)
    assert second.first_sample - first.first_sample == 59 * FRAME_SAMPLES  # 1.78 s later
    assert source.trouble == ""
    assert "is there after" in source.take_notes()[0]
    assert len(portaudio.streams) == 1


def test_an_unplugged_device_is_looked_for_each_second_and_told_of_once(start: Start) -> None:
    source, portaudio, clock = start(device("mic"), wanted="mic")
    portaudio.plugged = []
    portaudio.streams[0].finish()
    run(source, clock, 5.0)
    first, second = source.take_notes()
    assert "stopped sending" in first
    assert second == "there is no microphone; connect one"
    assert source.trouble == second
    assert 4 <= portaudio.starts - 1 <= 5
    portaudio.plugged = [device("other"), device("mic")]
    run(source, clock, 1.25)
    assert source.trouble == ""
    assert portaudio.streams[-1].format["device"] == 1


def test_a_microphone_that_is_missing_at_the_start_is_waited_for(start: Start) -> None:
    source, portaudio, clock = start()
    assert source.take_notes() == ["there is no microphone; connect one"]
    portaudio.plugged = [device("mic")]
    run(source, clock, 1.25)
    deliver(portaudio, clock, 7)
    assert source.read(100)[0][:2] == (0, block(7))


def test_a_device_that_is_busy_is_tried_again(start: Start) -> None:
    source, portaudio, clock = start(device("mic"))
    portaudio.broken = "Device unavailable [PaErrorCode -9985]"
    portaudio.streams[0].finish()
    run(source, clock, 3.0)
    assert "does not open (Device unavailable [PaErrorCode -9985])" in source.trouble
    portaudio.broken = ""
    run(source, clock, 1.25)
    assert source.trouble == ""


def test_a_device_that_needs_its_time_to_begin_is_given_it(start: Start) -> None:
    source, _portaudio, clock = start(device("mic"))
    run(source, clock, 2.75)
    assert source.trouble == ""
    run(source, clock, 0.75)
    assert "stopped sending" in source.trouble


def test_a_main_loop_that_was_away_itself_does_not_blame_the_device(start: Start) -> None:
    source, portaudio, clock = start(device("mic"))
    deliver(portaudio, clock, 1)
    source.read(100)
    clock.advance_s(10.0)
    source.read(100)
    assert source.trouble == ""
    run(source, clock, 1.25)
    assert "stopped sending" in source.trouble


def test_an_overflow_of_the_device_is_a_hole_as_long_as_the_time_that_passed(start: Start) -> None:
    source, portaudio, clock = start(device("mic"))
    deliver(portaudio, clock, 1)
    clock.advance_s(0.3)
    portaudio.streams[0].deliver(block(2), overflow=True)
    first, second = source.read(100)
    assert second.first_sample - first.first_sample == 10 * FRAME_SAMPLES


def test_the_overflow_flag_alone_makes_no_hole(start: Start) -> None:
    source, portaudio, clock = start(device("mic"))
    deliver(portaudio, clock, 1)
    clock.advance_s(0.03)
    portaudio.streams[0].deliver(block(2), overflow=True)
    assert [frame.first_sample for frame in source.read(100)] == [0, FRAME_SAMPLES]


def test_a_queue_that_is_full_drops_the_new_and_keeps_the_time_true(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "QUEUE_BLOCKS", 3)
    source, portaudio, clock = start(device("mic"))
    deliver(portaudio, clock, 1, 2, 3, 4, 5)
    assert [frame.pcm for frame in source.read(100)] == [block(1), block(2), block(3)]
    deliver(portaudio, clock, 6)
    assert [frame[:2] for frame in source.read(100)] == [(5 * FRAME_SAMPLES, block(6))]


def test_closing_does_not_wait_for_a_stalled_device(start: Start) -> None:
    source, portaudio, _clock = start(device("mic"))
    source._drop_stream()
    assert not portaudio.streams[0].open


def test_a_machine_without_portaudio_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoPortAudio:
        """An import that fails like that of sounddevice without libportaudio2."""

        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoPortAudio(), *sys.meta_path])
    with pytest.raises(SourceError, match="apt install libportaudio2"):
        load_sounddevice()


def test_a_frame_has_the_size_that_the_bus_wants(start: Start) -> None:
    source, portaudio, clock = start(device("mic"))
    deliver(portaudio, clock, 1)
    assert [len(frame.pcm) for frame in source.read(100)] == [FRAME_BYTES]
