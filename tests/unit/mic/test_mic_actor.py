"""The actor `mic` on real sockets: what it publishes, how it waits for its reader, and what it leaves behind."""

from __future__ import annotations

import array
import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from actors.actor import Runtime
from actors.mic import device as device_module
from actors.mic.actor import Mic
from actors.mic.device import DeviceSource
from actors.mic.sources import SourceError
from actors.mic.stdin import StdinSource
from bus.audio import AudioReader, End, Frame, Heard, NewEpoch
from bus.codec import Stamp
from bus.errors import InstanceRunning
from bus.limits import FRAME_SAMPLES, SAMPLE_RATE_HZ
from bus.messages.actor import LossTold
from bus.messages.audio import AudioClosed, AudioGap, AudioOpened
from bus.settings import Settings
from tests.fakes.audio_device import FakePortAudio, device
from tests.fakes.audio_instance import Instance, Listener, settings


class Reader:
    """An actor that keeps all it hears of a stream and commits when told to."""

    def __init__(self, stream: str = "mic") -> None:
        self._stream = stream
        self.heard: list[Heard] = []

    def __call__(self, runtime: Runtime) -> Reader:
        self.reader = AudioReader(runtime.context, runtime.addresses, self._stream, Stamp(runtime.name, runtime.incarnation))
        for socket in (self.reader.live, self.reader.history):
            runtime.watch(socket, self._read)
        runtime.every(0.2, self.reader.tick)
        return self

    def close(self) -> None:
        self.reader.close()

    def _read(self) -> None:
        self.heard.extend(self.reader.read())

    @property
    def frames(self) -> list[Frame]:
        return [heard for heard in self.heard if isinstance(heard, Frame)]

    @property
    def pcm(self) -> bytes:
        return b"".join(frame.pcm for frame in self.frames)

    @property
    def next_sample(self) -> int:
        return self.frames[-1].first_sample + FRAME_SAMPLES

    def has_end(self) -> bool:
        return any(isinstance(heard, End) for heard in self.heard)


def sound(seconds: float) -> bytes:
    return np.random.default_rng(3).integers(-9_000, 9_000, round(seconds * SAMPLE_RATE_HZ), dtype=np.int16).tobytes()


def file_settings(path: Path, pcm: bytes, **mic: object) -> Settings:
    soundfile.write(path, np.frombuffer(pcm, "<i2"), SAMPLE_RATE_HZ)
    return settings(mic={"source": "file", "file": str(path), "pace": "fast", **mic})


def start_mic(instance: Instance, use: Settings) -> Mic:
    mic = instance.start("mic", Mic, use)
    assert isinstance(mic, Mic)
    return mic


def test_a_file_is_published_whole_and_the_source_leaves_when_all_is_committed(instance: Instance, tmp_path: Path) -> None:
    pcm = sound(6.0)
    reader = Reader()
    start_mic(instance, file_settings(tmp_path / "sound.wav", pcm))
    instance.start("reader", reader)
    instance.until(reader.has_end)
    assert reader.pcm == pcm
    assert not instance.ended("mic")
    reader.reader.commit(reader.next_sample)
    instance.until(lambda: instance.ended("mic"))
    instance.stop("mic")
    assert instance.addresses.audio_streams() == []


def test_a_file_at_real_pace_takes_as_long_as_it_lasts(instance: Instance, tmp_path: Path) -> None:
    reader = Reader()
    start_mic(instance, file_settings(tmp_path / "sound.wav", sound(1.2), pace="real"))
    instance.start("reader", reader)
    instance.until(reader.has_end)
    captured = [frame.captured_ns for frame in reader.frames]
    assert len(captured) == 40
    assert captured[-1] - captured[0] >= 39 * 30_000_000 - 30_000_000


def test_a_file_at_full_pace_never_overwrites_what_is_not_committed(instance: Instance, tmp_path: Path) -> None:
    pcm = sound(100.0)
    mic = start_mic(instance, file_settings(tmp_path / "sound.wav", pcm, ring_s=45))
    for _ in range(50):
        instance.turn()
    assert mic._audio.newest <= 45 * SAMPLE_RATE_HZ
    reader = Reader()
    instance.start("reader", reader)

    def commit() -> bool:
        if reader.frames:
            reader.reader.commit(reader.next_sample)
        return instance.ended("mic")

    instance.until(commit)
    assert reader.pcm[: len(pcm)] == pcm


def test_a_killed_file_source_goes_on_at_its_last_commit(instance: Instance, tmp_path: Path) -> None:
    pcm = sound(6.0)
    use = file_settings(tmp_path / "sound.wav", pcm)
    start_mic(instance, use)
    first = Reader()
    instance.start("reader", first)
    instance.until(first.has_end)
    first.reader.commit(100 * FRAME_SAMPLES, "a note")
    mic = instance._running["mic"][1]
    assert isinstance(mic, Mic)
    instance.until(lambda: mic._audio.mark.sample == 100 * FRAME_SAMPLES)
    instance.stop("reader")
    instance.kill_source("mic")
    start_mic(instance, use)
    second = Reader()
    instance.start("reader", second)
    instance.until(second.has_end)
    assert second.frames[0].first_sample == 100 * FRAME_SAMPLES
    assert second.pcm == pcm[100 * 960 :]


@pytest.mark.parametrize("content", [None, b"", b"Dear diary"])
def test_a_file_that_cannot_be_used_is_refused_and_leaves_no_stream(instance: Instance, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "sound.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=r"sound\.wav"):
        start_mic(instance, settings(mic={"source": "file", "file": str(path)}))
    assert instance.addresses.audio_streams() == []


def test_a_file_source_without_a_file_is_refused(instance: Instance) -> None:
    with pytest.raises(SourceError, match=r"mic\.file"):
        start_mic(instance, settings(mic={"source": "file"}))


def test_a_second_source_of_the_same_stream_is_refused(instance: Instance, tmp_path: Path) -> None:
    use = file_settings(tmp_path / "sound.wav", sound(1.0))
    start_mic(instance, use)
    with pytest.raises(InstanceRunning, match="'mic' has a source already"):
        instance.start("other", Mic, use)


def test_a_pipe_is_read_no_further_than_the_ring_holds(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    monkeypatch.setattr("actors.mic.actor.open_source", lambda *_: StdinSource(read_end))
    mic = start_mic(instance, settings(mic={"source": "stdin", "ring_s": 45}))
    pcm, sent = sound(60.0), 0
    reader = Reader()

    def feed() -> None:
        nonlocal sent
        while sent < len(pcm):
            try:
                sent += os.write(write_end, pcm[sent : sent + 4096])
            except BlockingIOError:
                return

    for _ in range(400):
        feed()
        instance.turn()
    assert mic._audio.newest == 45 * SAMPLE_RATE_HZ // FRAME_SAMPLES * FRAME_SAMPLES
    assert sent < len(pcm)
    instance.start("reader", reader)

    def progress() -> bool:
        feed()
        if reader.frames:
            reader.reader.commit(reader.next_sample)
        return sent == len(pcm)

    instance.until(progress)
    os.close(write_end)
    instance.until(lambda: progress() and reader.has_end())
    assert reader.pcm == pcm
    os.close(read_end)


def test_the_device_is_published_with_a_hole_where_it_was_away_and_the_hole_is_told_of(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    portaudio = FakePortAudio(device("mic"))
    monkeypatch.setattr(device_module, "load_sounddevice", lambda: portaudio)
    monkeypatch.setattr(device_module, "RETRY_S", 0.1)
    instance.start_planes()
    listener = Listener("audio.")
    instance.start("tap", listener)
    instance.until_ready()
    reader = Reader()
    mic = start_mic(instance, settings(mic={"source": "device"}))
    instance.start("reader", reader)
    instance.until(lambda: any(isinstance(message.body, AudioOpened) for message in listener.messages))

    def deliver(number: int) -> None:
        portaudio.streams[-1].deliver(array.array("h", [number] * FRAME_SAMPLES).tobytes())

    deliver(1)
    instance.until(lambda: len(reader.frames) == 1)
    portaudio.streams[-1].finish()
    instance.until(lambda: len(portaudio.streams) == 2)
    deliver(2)
    instance.until(lambda: reader.pcm[-2:] == b"\2\0")
    assert isinstance(mic._source, DeviceSource)
    assert mic._source.trouble == ""
    silent = [frame for frame in reader.frames if not any(frame.pcm)]
    assert len(silent) == len(reader.frames) - 2 >= 2  # the retry took a tenth of a second at least
    instance.until(lambda: any(isinstance(message.body, AudioGap) for message in listener.messages))
    (gap,) = [message.body for message in listener.messages if isinstance(message.body, AudioGap)]
    assert (gap.first_sample, gap.samples, gap.cause) == (FRAME_SAMPLES, len(silent) * FRAME_SAMPLES, "device")


def device_mic(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> FakePortAudio:
    portaudio = FakePortAudio(device("mic"))
    monkeypatch.setattr(device_module, "load_sounddevice", lambda: portaudio)
    start_mic(instance, settings(mic={"source": "device"}))
    return portaudio


def test_what_fell_while_a_killed_device_source_was_started_again_is_told_with_its_true_length(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.start_planes()
    listener, reader = Listener("audio.gap", "loss."), Reader()
    instance.start("tap", listener)
    instance.start("reader", reader)
    instance.until_ready()
    block = bytes(2 * FRAME_SAMPLES)
    device_mic(instance, monkeypatch).streams[-1].deliver(block)
    instance.until(lambda: len(reader.frames) == 1)
    instance.kill_source("mic")
    second = device_mic(instance, monkeypatch)
    instance.until_ready()
    end_s = time.monotonic() + 0.5
    instance.until(lambda: time.monotonic() > end_s)  # this is the length of the gap, and not a wait for anything
    second.streams[-1].deliver(block)
    instance.until(lambda: len(reader.frames) == 2 and len(listener.messages) == 2)
    (gap,) = [message.body for message in listener.messages if isinstance(message.body, AudioGap)]
    (loss,) = [message.body for message in listener.messages if isinstance(message.body, LossTold)]
    epoch = next(heard.epoch for heard in reader.heard if isinstance(heard, NewEpoch))
    apart_ms = (reader.frames[1].captured_ns - reader.frames[0].captured_ns) / 1e6
    assert (gap.epoch, gap.first_sample, gap.cause) == (epoch, FRAME_SAMPLES, "restart")
    assert gap.samples * 1000 / SAMPLE_RATE_HZ == pytest.approx(apart_ms - 30, abs=15)
    assert (loss.cause, loss.number) == ("audio-restart-ms", gap.samples * 1000 // SAMPLE_RATE_HZ)


def test_a_device_source_that_was_stopped_in_order_leaves_no_gap_to_tell(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    portaudio = device_mic(instance, monkeypatch)
    portaudio.streams[-1].deliver(bytes(2 * FRAME_SAMPLES))
    instance.until(lambda: instance._running["mic"][1]._audio.newest)  # type: ignore[attr-defined]
    instance.stop("mic")
    second = start_mic(instance, settings(mic={"source": "device"}))
    assert second._audio.predecessor is None


def test_an_empty_standard_input_is_refused_and_leaves_no_stream(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open("rb") as empty:
        monkeypatch.setattr("actors.mic.actor.open_source", lambda *_: StdinSource(empty.fileno()))
        with pytest.raises(SourceError, match="standard input is empty"):
            start_mic(instance, settings(mic={"source": "stdin"}))
    assert instance.addresses.audio_streams() == []


def test_a_source_says_when_it_begins_and_ends(instance: Instance, tmp_path: Path) -> None:
    instance.start_planes()
    listener = Listener("audio.")
    reader = Reader()
    instance.start("tap", listener)
    instance.until_ready()
    start_mic(instance, file_settings(tmp_path / "sound.wav", sound(1.2)))
    instance.start("reader", reader)
    instance.until(reader.has_end)
    reader.reader.commit(reader.next_sample)
    instance.until(lambda: {AudioOpened.topic, AudioClosed.topic} <= set(listener.topics()))
    (closed,) = [message.body for message in listener.messages if isinstance(message.body, AudioClosed)]
    assert closed.samples == 40 * FRAME_SAMPLES
