"""From a sound file to jobs, through the real actors `mic` and `vad` and the real planes, whatever dies meanwhile."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import zmq

from actors.mic.actor import Mic
from actors.vad.actor import Vad, segmenter_config
from actors.vad.engines import open_engine
from actors.vad.relay import Relay
from actors.vad.segmenter import Checkpoint, Segment, Segmenter
from bus import timings
from bus.audio import AudioReader, AudioSource, Frame, Heard
from bus.clock import ManualClock
from bus.codec import Stamp
from bus.errors import SetupError
from bus.limits import SAMPLE_RATE_HZ
from bus.messages.actor import LossTold
from bus.messages.audio import AudioGap
from bus.messages.jobs import Transcribe
from bus.messages.speech import SpeechEnded, SpeechSkipped
from bus.settings import Settings
from tests.fakes.audio_instance import Instance, Listener, Worker, settings
from tests.fakes.audio_speech import frames, jfk_pcm
from tests.waiting import pump_until

# The pauses of the speech are 0.6 s or longer than 1 s, so that this limit is not near any of them.
VAD = {"engine": "silero", "minimum_speech_s": 0.8, "silence_limit_s": 0.8}


def silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * SAMPLE_RATE_HZ))


def spoken() -> bytes:
    """The speech with a long pause in its middle: three utterances and one that is too short."""
    pcm = jfk_pcm()
    cut = 2 * round(4.8 * SAMPLE_RATE_HZ)
    return (
        pcm[:cut]
        + silence(2)
        + pcm[cut:]
        + silence(1.5)
        + pcm[2 * round(0.2 * SAMPLE_RATE_HZ) : 2 * round(0.9 * SAMPLE_RATE_HZ)]
        + silence(2)
    )


def write(path: Path, pcm: bytes) -> None:
    soundfile.write(path, np.frombuffer(pcm, "<i2"), SAMPLE_RATE_HZ)


def expected(pcm: bytes, with_settings: Settings, first_sample: int = 0) -> list[Segment]:
    """What the pure core makes of the sound."""
    engine = Relay(lambda: open_engine(with_settings.vad.engine))
    engine.begin(first_sample)
    segmenter = Segmenter(segmenter_config(with_settings.vad), Checkpoint(first_sample))
    pcm += bytes(-len(pcm) % 960)
    events = [event for frame in frames(pcm) for event in segmenter.push(segmenter.next_sample, frame, engine.is_speech(frame))]
    return [event for event in events + segmenter.flush() if isinstance(event, Segment)]


def assert_heard(worker: Worker, segments: list[Segment], stream: str = "mic") -> None:
    """Each segment became one job, in order, sample for sample."""
    leases = [lease for lease in worker.leases if lease.job.stream == stream]
    assert [lease.payload for lease in leases] == [segment.pcm for segment in segments]
    assert [lease.job.work for lease in leases] == [
        Transcribe(first_sample=segment.start_sample, audio_ms=len(segment.pcm) // 32, speech_ms=segment.speech_ms) for segment in segments
    ]
    assert [lease.job.revision for lease in leases] == [segment.revision for segment in segments]
    assert len({lease.job.turn for lease in leases}) == len(segments)


def file_settings(path: Path, stream: str = "mic", pace: str = "fast") -> Settings:
    return settings(mic={"source": "file", "file": str(path), "pace": pace, "stream": stream}, vad=VAD)


def test_a_file_becomes_one_job_for_each_utterance_and_then_the_source_ends(instance: Instance, tmp_path: Path) -> None:
    write(tmp_path / "speech.wav", spoken())
    use = file_settings(tmp_path / "speech.wav")
    instance.start_planes()
    worker = Worker("stt")
    instance.start("whisper-1", worker)
    instance.start("vad", Vad, use)
    instance.start("mic", Mic, use)
    instance.until(lambda: instance.ended("mic"))
    segments = expected(spoken(), use)
    assert len(segments) == 3
    instance.until(lambda: len(worker.leases) == len(segments))
    assert_heard(worker, segments)
    instance.stop("mic")
    assert instance.addresses.audio_streams() == []


def test_events_tell_of_starts_ends_and_what_was_too_short(instance: Instance, tmp_path: Path) -> None:
    write(tmp_path / "speech.wav", spoken())
    use = file_settings(tmp_path / "speech.wav")
    instance.start_planes()
    listener = Listener("speech.", "audio.closed")
    instance.start("tap", listener)
    instance.start("vad", Vad, use)
    instance.until_ready()
    instance.start("mic", Mic, use)
    instance.until(lambda: listener.topics().count("speech.ended") == 3 and "audio.closed" in listener.topics())
    instance.until(lambda: listener.topics().count("speech.started") == listener.topics().count("speech.skipped") + 3 > 3)
    (skipped, *_) = [message.body for message in listener.messages if isinstance(message.body, SpeechSkipped)]
    assert skipped.speech_ms < skipped.minimum_ms == 800
    ended = [message.body for message in listener.messages if isinstance(message.body, SpeechEnded)]
    assert [body.first_sample for body in ended] == [segment.start_sample for segment in expected(spoken(), use)]


def test_a_turn_is_timed_from_the_capture_of_its_last_speech_frame(instance: Instance, tmp_path: Path) -> None:
    write(tmp_path / "speech.wav", jfk_pcm()[: 2 * 16_000 * 3])
    use = file_settings(tmp_path / "speech.wav", pace="real")
    instance.start_planes()
    worker = Worker("stt")
    instance.start("whisper-1", worker)
    instance.start("vad", Vad, use)
    instance.start("mic", Mic, use)
    instance.until(lambda: worker.leases)
    marks = worker.leases[0].job.marks
    waited_s = (marks[timings.COMMITTED] - marks[timings.SPEECH_END]) / 1e9
    assert 0.7 < waited_s < 10.0  # the silence limit of 0.8 s, and what a busy machine adds
    assert marks[timings.SUBMITTED] >= marks[timings.COMMITTED]


@pytest.mark.parametrize("engine", ["webrtc", "silero"])
@pytest.mark.parametrize("seed", range(4))
def test_a_segmenter_that_is_killed_again_and_again_hears_the_same_sample_for_sample(instance: Instance, engine: str, seed: int) -> None:
    """Killed at moments drawn from the seed; each successor then first hears some frames more."""
    use = settings(mic={"source": "stdin", "pace": "fast"}, vad={**VAD, "engine": engine})
    segments = expected(spoken(), use)
    assert len(segments) >= 2
    instance.start_planes()
    worker = Worker("stt")
    instance.start("whisper-1", worker)
    source, scripted = start_scripted(instance, use)
    dice = random.Random(seed)
    for killed_after in sorted(dice.sample(range(1, len(spoken()) // 960), 6)):
        instance.start("vad", Vad, use)
        scripted.allowed = killed_after
        instance.until(lambda at=killed_after: source._audio.newest >= at * 480)  # type: ignore[misc]
        for _ in range(dice.randrange(30)):
            instance.turn()
        instance.kill("vad")
    instance.start("vad", Vad, use)
    scripted.allowed = 10**9
    instance.until(lambda: source._audio.finished and len(worker.leases) >= len(segments))
    assert_heard(worker, segments)


def start_scripted(instance: Instance, use: Settings) -> tuple[Mic, Scripted]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actors.mic.actor.open_source", lambda *_: Scripted(spoken()))
        mic = instance.start("mic", Mic, use)
    assert isinstance(mic, Mic)
    assert isinstance(mic._source, Scripted)
    return mic, mic._source


def test_an_utterance_that_was_handed_on_by_a_segmenter_killed_before_it_knew_is_heard_once(instance: Instance) -> None:
    use = settings(mic={"source": "stdin", "pace": "fast"}, vad=VAD)
    instance.start_planes()
    worker = Worker("stt")
    instance.start("whisper-1", worker)
    mic, scripted = start_scripted(instance, use)
    vad = instance.start("vad", Vad, use)
    assert isinstance(vad, Vad)
    scripted.allowed = 120  # the first utterance
    instance.until(lambda: worker.leases and not vad._ears["mic"]._unaccepted)
    scripted.allowed = 178  # and the second
    instance.until(lambda: vad._ears["mic"]._unaccepted)
    pump_until(lambda: len(worker.leases) == 2, lambda: instance.turn(without="vad"))
    instance.kill("vad")
    instance.start("vad", Vad, use)
    scripted.allowed = 10**9
    segments = expected(spoken(), use)
    instance.until(lambda: mic._audio.finished and len(worker.leases) == len(segments))
    assert_heard(worker, segments)


class Scripted:
    """A source that gives as many frames as the test allows."""

    label = "a script"

    def __init__(self, pcm: bytes) -> None:
        from actors.mic.sources import Cutter

        cutter = Cutter()
        self._frames = cutter.feed(pcm) + cutter.finish()
        self._given = 0
        self.allowed = 0

    def open(self) -> None:
        """Nothing to open."""

    def fileno(self) -> None:
        """Always ready."""

    def read(self, max_frames: int) -> list[object]:
        begin, self._given = self._given, min(self._given + max_frames, self.allowed, len(self._frames))
        return list(self._frames[begin : self._given])

    @property
    def ended(self) -> bool:
        return self._given == len(self._frames)

    def take_notes(self) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing to close."""


def test_a_file_source_that_is_killed_goes_on_and_every_turn_is_heard_once(instance: Instance, tmp_path: Path) -> None:
    write(tmp_path / "speech.wav", spoken())
    use = file_settings(tmp_path / "speech.wav")
    instance.start_planes()
    worker = Worker("stt")
    instance.start("whisper-1", worker)
    instance.start("vad", Vad, use)
    instance.start("mic", Mic, use)
    instance.until(lambda: worker.leases)
    instance.kill_source("mic")
    instance.start("mic", Mic, use)
    segments = expected(spoken(), use)
    instance.until(lambda: instance.ended("mic") and len(worker.leases) == len(segments))
    assert_heard(worker, segments)


def test_without_a_dispatcher_nothing_is_committed_and_nothing_lost(instance: Instance, tmp_path: Path) -> None:
    write(tmp_path / "speech.wav", spoken())
    use = file_settings(tmp_path / "speech.wav")
    vad = instance.start("vad", Vad, use)
    mic = instance.start("mic", Mic, use)
    assert isinstance(vad, Vad)
    assert isinstance(mic, Mic)
    segments = expected(spoken(), use)
    instance.until(lambda: vad._ears and len(vad._ears["mic"]._unaccepted) == len(segments))
    assert mic._audio.mark.sample <= segments[0].start_sample
    worker = Worker("stt")
    instance.start_planes()
    instance.start("whisper-1", worker)
    instance.until(lambda: instance.ended("mic") and len(worker.leases) == len(segments))
    assert_heard(worker, segments)


def test_streams_are_heard_beside_each_other(instance: Instance, tmp_path: Path) -> None:
    write(tmp_path / "one.wav", spoken())
    write(tmp_path / "two.wav", jfk_pcm())
    one, two = file_settings(tmp_path / "one.wav", "one"), file_settings(tmp_path / "two.wav", "two")
    instance.start_planes()
    worker = Worker("stt")
    instance.start("whisper-1", worker)
    instance.start("vad", Vad, one)
    instance.start("mic-one", Mic, one)
    instance.start("mic-two", Mic, two)
    instance.until(lambda: instance.ended("mic-one") and instance.ended("mic-two"))
    segments = expected(spoken(), one), expected(jfk_pcm(), two)
    instance.until(lambda: len(worker.leases) == len(segments[0]) + len(segments[1]))
    assert_heard(worker, segments[0], "one")
    assert_heard(worker, segments[1], "two")


def test_a_stream_that_is_over_is_left_and_its_name_can_be_used_again(instance: Instance, tmp_path: Path) -> None:
    write(tmp_path / "speech.wav", jfk_pcm())
    use = file_settings(tmp_path / "speech.wav")
    instance.start_planes()
    worker = Worker("stt")
    instance.start("whisper-1", worker)
    vad = instance.start("vad", Vad, use)
    assert isinstance(vad, Vad)
    segments = expected(jfk_pcm(), use)
    for _ in range(2):
        instance.start("mic", Mic, use)
        instance.until(lambda: instance.ended("mic"))
        instance.stop("mic")
        instance.until(lambda: not vad._ears)
    instance.until(lambda: len(worker.leases) == 2 * len(segments))
    assert len({lease.job.turn for lease in worker.leases}) == 2 * len(segments)


def test_a_sound_longer_than_the_ring_waits_for_its_reader_at_full_pace(instance: Instance, tmp_path: Path) -> None:
    pcm = (spoken() + silence(20)) * 3
    write(tmp_path / "long.wav", pcm)
    use = settings(mic={"source": "file", "file": str(tmp_path / "long.wav"), "pace": "fast", "ring_s": 45}, vad=VAD)
    mic = instance.start("mic", Mic, use)
    assert isinstance(mic, Mic)
    for _ in range(200):
        instance.turn()
    assert mic._audio.newest <= 45 * SAMPLE_RATE_HZ
    instance.start_planes()
    worker = Worker("stt")
    instance.start("whisper-1", worker)
    instance.start("vad", Vad, use)
    segments = expected(pcm, use)
    instance.until(lambda: instance.ended("mic") and len(worker.leases) == len(segments))
    assert_heard(worker, segments)


@pytest.mark.parametrize(
    ("vad", "words"),
    [
        ({"silence_limit_s": 0.09, "start_ms": 150}, "start_ms"),
        ({"preset": ""}, "preset"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_before_anything_is_heard(
    instance: Instance, vad: dict[str, object], words: str
) -> None:
    with pytest.raises(SetupError, match=words):
        instance.start("vad", Vad, settings(vad=vad))


def test_what_was_said_before_the_microphone_died_is_transcribed_and_what_follows_is_another_turn(
    instance: Instance, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    use = settings(vad=VAD)
    instance.start_planes()
    worker, listener = Worker("stt"), Listener("audio.gap")
    instance.start("whisper-1", worker)
    instance.start("tap", listener)
    vad = instance.start("vad", Vad, use)
    assert isinstance(vad, Vad)
    instance.until_ready()
    speech = jfk_pcm()[: 2 * round(2.2 * SAMPLE_RATE_HZ) // 960 * 960]

    def source() -> AudioSource:
        return AudioSource(context, instance.addresses, "mic", Stamp("mic", "1"), ring_s=60, can_wait=False)

    def until(condition: Callable[[], object], serving: AudioSource) -> None:
        pump_until(condition, instance.turn, serving.serve)

    first = source()
    for frame in frames(speech):
        first.publish(first.newest, frame, time.monotonic_ns())
    until(lambda: "mic" in vad._ears and vad._ears["mic"]._hearing.is_open and not worker.leases, first)
    until(lambda: vad._ears["mic"]._hearing._next_sample == first.newest, first)
    first._live.close(linger=0)
    first.history.close(linger=0)
    first._lock.release()
    second = source()
    for frame in frames(silence(0.9) + speech + silence(1.2)):
        second.publish(second.newest, frame, time.monotonic_ns())
    until(lambda: len(worker.leases) == 2, second)
    before, after = worker.leases
    assert before.payload is not None
    assert isinstance(before.job.work, Transcribe)
    assert speech[2 * before.job.work.first_sample :].startswith(before.payload)
    assert len(before.payload) > 0.9 * len(speech)
    assert before.job.turn != after.job.turn
    assert first.epoch in before.job.turn
    assert second.epoch in after.job.turn
    assert listener.messages == []  # all of the first was heard; how long it was away is the source's to tell
    second.close()


def test_frames_that_are_heard_late_are_told_once_and_heard_all_the_same(
    instance: Instance, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    use = settings(vad=VAD)
    instance.start_planes()
    worker, listener = Worker("stt"), Listener("loss.")
    instance.start("whisper-1", worker)
    instance.start("tap", listener)
    instance.until_ready()
    source = AudioSource(context, instance.addresses, "mic", Stamp("mic", "1"), ring_s=60, can_wait=False)
    captured_ns = time.monotonic_ns() - 30_000_000_000  # it lay in the ring for half a minute
    for number, frame in enumerate(frames(spoken())):
        source.publish(source.newest, frame, captured_ns + number * 30_000_000)
    instance.start("vad", Vad, use)
    segments = expected(spoken(), use)
    pump_until(lambda: len(worker.leases) == len(segments) and listener.messages, instance.turn, source.serve)
    (loss,) = [message.body for message in listener.messages]
    assert isinstance(loss, LossTold)
    assert (loss.cause, loss.over) == ("frames-stale", False)
    assert [lease.payload for lease in worker.leases] == [segment.pcm for segment in segments]
    source.close()


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


def test_a_segmenter_that_was_away_for_longer_than_the_ring_tells_of_the_gap_and_hears_what_follows(
    instance: Instance, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    source = AudioSource(context, instance.addresses, "mic", Stamp("mic", "1"), ring_s=45, can_wait=False)
    instance.start_planes()
    worker, listener = Worker("stt"), Listener("audio.gap")
    instance.start("whisper-1", worker)
    instance.start("tap", listener)
    use = settings(vad=VAD)
    vad = instance.start("vad", Vad, use)
    assert isinstance(vad, Vad)
    instance.until_ready()

    def publish(pcm: bytes) -> None:
        for frame in frames(pcm):
            source.publish(source.newest, frame, captured_ns=1)

    def turn() -> None:
        instance.turn()
        source.serve()

    publish(silence(0.3))
    pump_until(lambda: "mic" in vad._ears and vad._ears["mic"]._hearing._next_sample == source.newest, turn)
    pcm = silence(120) + spoken()  # much more than the ring and the queues between
    publish(pcm)
    in_the_ring = pcm[: len(pcm) // 960 * 960][-(45 * SAMPLE_RATE_HZ // 480 * 960) :]
    segments = expected(in_the_ring, use, source.newest - len(in_the_ring) // 2)
    pump_until(lambda: listener.messages and len(worker.leases) == len(segments), turn)
    gap = listener.messages[0].body
    assert isinstance(gap, AudioGap)
    assert gap.cause == "overrun"
    assert gap.first_sample + gap.samples == source.newest - len(in_the_ring) // 2
    assert [lease.payload for lease in worker.leases] == [segment.pcm for segment in segments]
    assert len(segments) >= 2
    source.close()


def test_while_nobody_speaks_the_frames_are_read_three_at_a_time(
    instance: Instance, context: zmq.Context[zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[int] = []
    read = AudioReader.read

    def counted(reader: AudioReader) -> Iterator[Heard]:
        heard = list(read(reader))
        readings.append(sum(isinstance(each, Frame) for each in heard))
        yield from heard

    monkeypatch.setattr(AudioReader, "read", counted)
    clock = ManualClock(10**12)
    begin_ns, looked_s = clock.monotonic_ns(), time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr("actors.actor.SystemClock", lambda: clock)
        instance.start("vad", Vad, settings(vad={"start_ms": 90}))
    source = AudioSource(context, instance.addresses, "mic", Stamp("mic", "1"), ring_s=60, can_wait=False)

    def speak() -> None:
        """At the pace of a microphone, by a clock that stands still while the machine is away: frames that are late are read at once."""
        nonlocal looked_s
        passed_s, looked_s = time.monotonic() - looked_s, time.monotonic()
        clock.advance_s(min(passed_s, 0.01))
        captured_ns = begin_ns + (source.newest // 480 + 1) * 30_000_000
        if captured_ns <= clock.monotonic_ns():
            source.publish(source.newest, silence(0.03), captured_ns)

    pump_until(lambda: sum(readings) >= 100, instance.turn, source.serve, speak)
    assert len([number for number in readings if number]) < 60
    source.close()
