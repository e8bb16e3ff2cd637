"""The audio plane over real sockets: a reader misses nothing, whatever it was doing meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import zmq

from bus.addresses import Addresses
from bus.audio import AudioReader, AudioSource, End, Frame, Heard, Missing, NewEpoch
from bus.codec import Stamp, decode
from bus.errors import InstanceRunning, WireError
from bus.limits import AUDIO_HIGH_WATER_MARK, FRAME_BYTES, FRAME_SAMPLES
from bus.messages.audio import AudioCommit, AudioHistory, AudioSince
from bus.messages.base import Body
from tests.waiting import pump_until

Context = zmq.Context[zmq.Socket[bytes]]
RING_S = 60
RING_FRAMES = RING_S * 100 // 3


def sound(number: int) -> bytes:
    return random.Random(number).randbytes(FRAME_BYTES)


class Stream:
    """A source and a reader of it, pumped by hand."""

    def __init__(self, addresses: Addresses, context: Context) -> None:
        self.addresses, self.context = addresses, context
        self.heard: list[Heard] = []
        self.readers: list[AudioReader] = []
        self.bad: list[WireError] = []
        self.source = self.open_source()

    def open_source(self, can_wait: bool = False) -> AudioSource:
        self.source = AudioSource(
            self.context, self.addresses, "mic", Stamp("mic", "1"), ring_s=RING_S, can_wait=can_wait, on_bad=self.bad.append
        )
        return self.source

    def open_reader(self) -> AudioReader:
        reader = AudioReader(self.context, self.addresses, "mic", Stamp("vad", "1"))
        self.readers.append(reader)
        return reader

    def speak(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.source.publish(number * FRAME_SAMPLES, sound(number), number)

    def pump(self, reader: AudioReader) -> None:
        if self.source.history.poll(1):
            self.source.serve()
        self.heard.extend(reader.read())

    def until_frames(self, reader: AudioReader, count: int) -> list[Frame]:
        pump_until(lambda: len(self.frames) >= count, lambda: self.pump(reader), reader.tick)
        return self.frames

    @property
    def frames(self) -> list[Frame]:
        return [heard for heard in self.heard if isinstance(heard, Frame)]

    def close(self) -> None:
        for reader in self.readers:
            reader.close()
        self.source.close()


@pytest.fixture
def stream(addresses: Addresses, context: Context) -> Iterator[Stream]:
    stream = Stream(addresses, context)
    yield stream
    stream.close()


def assert_whole(frames: list[Frame], first: int, count: int) -> None:
    assert [frame.first_sample for frame in frames] == [number * FRAME_SAMPLES for number in range(first, first + count)]
    assert all(frame.pcm == sound(frame.first_sample // FRAME_SAMPLES) for frame in frames)


def test_a_reader_that_comes_late_hears_it_all_from_the_ring(stream: Stream) -> None:
    stream.speak(0, 400)
    assert_whole(stream.until_frames(stream.open_reader(), 400), 0, 400)


def test_a_reader_stopped_for_longer_than_any_queue_holds_loses_nothing(stream: Stream) -> None:
    reader = stream.open_reader()
    stream.speak(0, 10)
    stream.until_frames(reader, 10)
    stream.speak(10, RING_FRAMES - 20)  # far more than the high-water mark, and nobody reads
    stream.speak(RING_FRAMES - 10, 5)
    assert_whole(stream.until_frames(reader, RING_FRAMES - 5), 0, RING_FRAMES - 5)


def test_the_capture_time_of_each_frame_survives_the_ring(stream: Stream) -> None:
    stream.speak(0, 120)
    frames = stream.until_frames(stream.open_reader(), 120)
    assert [frame.captured_ns for frame in frames] == list(range(120))


def test_what_the_ring_no_longer_holds_is_told(stream: Stream) -> None:
    reader = stream.open_reader()
    stream.speak(0, 10)
    stream.until_frames(reader, 10)
    stream.speak(10, 2 * RING_FRAMES)
    last = 2 * RING_FRAMES + 9
    pump_until(lambda: stream.frames[-1].first_sample == last * FRAME_SAMPLES, lambda: stream.pump(reader), reader.tick)
    (missing,) = [heard for heard in stream.heard if isinstance(heard, Missing)]
    assert missing.samples // FRAME_SAMPLES + len(stream.frames) == last + 1
    after = stream.heard[stream.heard.index(missing) + 1]
    assert isinstance(after, Frame)
    assert after.first_sample == missing.first_sample + missing.samples


def test_a_hole_of_the_device_is_silence_with_true_numbers(stream: Stream) -> None:
    stream.speak(0, 2)
    stream.source.publish(5 * FRAME_SAMPLES, sound(5), 5)
    frames = stream.until_frames(stream.open_reader(), 6)
    assert [frame.pcm == bytes(FRAME_BYTES) for frame in frames] == [False, False, True, True, True, False]


def test_a_second_reader_goes_on_at_the_last_commit_with_its_note(stream: Stream) -> None:
    reader = stream.open_reader()
    stream.speak(0, 30)
    stream.until_frames(reader, 30)
    reader.commit(12 * FRAME_SAMPLES, "continues")
    pump_until(lambda: stream.source.mark.sample, lambda: stream.pump(reader))
    stream.heard.clear()
    successor = stream.open_reader()
    assert_whole(stream.until_frames(successor, 18), 12, 18)
    assert stream.heard[0] == NewEpoch(stream.source.epoch, 12 * FRAME_SAMPLES, "continues")


def test_a_successor_is_told_when_what_was_committed_last_is_no_longer_in_the_ring(stream: Stream) -> None:
    reader = stream.open_reader()
    stream.speak(0, 30)
    stream.until_frames(reader, 30)
    reader.commit(12 * FRAME_SAMPLES)
    pump_until(lambda: stream.source.mark.sample, lambda: stream.pump(reader))
    stream.speak(30, RING_FRAMES)
    stream.heard.clear()
    stream.until_frames(stream.open_reader(), RING_FRAMES)
    assert stream.heard[1] == Missing(12 * FRAME_SAMPLES, 18 * FRAME_SAMPLES)


def test_the_end_of_the_stream_comes_after_its_last_frame_and_once(stream: Stream) -> None:
    reader = stream.open_reader()
    stream.speak(0, 100)
    stream.source.end(0)
    pump_until(lambda: End(100 * FRAME_SAMPLES) in stream.heard, lambda: stream.pump(reader))
    reader.commit(100 * FRAME_SAMPLES)
    pump_until(lambda: stream.source.finished, lambda: stream.pump(reader))
    assert stream.heard[-1] == End(100 * FRAME_SAMPLES)
    assert sum(isinstance(heard, End) for heard in stream.heard) == 1


def test_a_reader_that_missed_the_end_learns_of_it_when_it_asks_again(stream: Stream) -> None:
    stream.speak(0, 3)
    reader = stream.open_reader()
    stream.until_frames(reader, 3)
    stream.source.ended = True  # as if the last message had been dropped
    reader.tick()
    pump_until(lambda: End(3 * FRAME_SAMPLES) in stream.heard, lambda: stream.pump(reader), reader.tick)


def test_a_device_that_restarts_begins_a_new_epoch(stream: Stream) -> None:
    reader = stream.open_reader()
    stream.speak(0, 5)
    stream.until_frames(reader, 5)
    stream.source.close()
    stream.open_source()
    stream.heard.clear()
    stream.speak(0, 3)
    pump_until(lambda: len(stream.frames) >= 3, lambda: stream.pump(reader), reader.tick)
    assert isinstance(stream.heard[0], NewEpoch)
    assert_whole(stream.frames, 0, 3)


def kill_source(stream: Stream) -> None:
    """End it without a word, as `kill -9` would; the kernel releases the lock."""
    stream.source._live.close(linger=0)
    stream.source.history.close(linger=0)
    stream.source._lock.release()


def test_what_a_killed_source_had_captured_and_nobody_had_read_is_told_before_the_next_epoch(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = stream.open_reader()
    stream.speak(0, 5)
    stream.until_frames(reader, 5)
    monkeypatch.setattr(stream.source, "_send_live", lambda *_: None)  # it dies before they leave
    stream.speak(5, 7)
    kill_source(stream)
    stream.open_source()
    stream.heard.clear()
    stream.speak(0, 3)
    pump_until(lambda: len(stream.frames) >= 3, lambda: stream.pump(reader), reader.tick)
    assert stream.heard[0] == Missing(5 * FRAME_SAMPLES, 7 * FRAME_SAMPLES, "restart")
    assert isinstance(stream.heard[1], NewEpoch)


def test_a_hole_longer_than_the_ring_is_known_to_have_been_told_by_the_source(stream: Stream) -> None:
    reader = stream.open_reader()
    stream.speak(0, 10)
    stream.until_frames(reader, 10)
    hole = RING_FRAMES + 7
    stream.speak(10 + hole, 5)
    pump_until(lambda: len(stream.frames) == 15, lambda: stream.pump(reader), reader.tick)
    (missing,) = [heard for heard in stream.heard if isinstance(heard, Missing)]
    assert missing == Missing(10 * FRAME_SAMPLES, hole * FRAME_SAMPLES, told=hole * FRAME_SAMPLES)


def test_a_finished_stream_leaves_no_file(stream: Stream) -> None:
    stream.source.end(0)
    stream.source.close()
    assert list(stream.addresses.audio_dir.iterdir()) == []
    stream.open_source()


def test_a_new_source_of_the_same_name_is_heard_although_it_ended_before_the_reader_was_connected(stream: Stream) -> None:
    reader = stream.open_reader()
    stream.speak(0, 5)
    stream.source.end(0)
    pump_until(lambda: End(5 * FRAME_SAMPLES) in stream.heard, lambda: stream.pump(reader), reader.tick)
    stream.source.close()
    stream.open_source()
    stream.speak(0, 7)
    stream.source.end(0)
    pump_until(lambda: End(7 * FRAME_SAMPLES) in stream.heard, lambda: stream.pump(reader), reader.tick)
    assert_whole(stream.frames[5:], 0, 7)


def test_a_file_that_restarts_goes_on_at_its_last_commit(addresses: Addresses, context: Context) -> None:
    stream = Stream.__new__(Stream)
    stream.addresses, stream.context, stream.heard, stream.readers, stream.bad = addresses, context, [], [], []
    stream.open_source(can_wait=True)
    reader = stream.open_reader()
    stream.speak(0, 20)
    stream.until_frames(reader, 20)
    reader.commit(8 * FRAME_SAMPLES)
    pump_until(lambda: stream.source.mark.sample, lambda: stream.pump(reader))
    epoch = stream.source.epoch
    stream.source.close()
    stream.open_source(can_wait=True)
    assert (stream.source.epoch, stream.source.newest) == (epoch, 8 * FRAME_SAMPLES)
    stream.speak(8, 20)
    pump_until(lambda: len(stream.frames) >= 28, lambda: stream.pump(reader), reader.tick)
    assert_whole(stream.frames, 0, 28)
    stream.close()


def test_a_file_that_restarts_before_any_commit_begins_again_in_the_same_epoch(addresses: Addresses, context: Context) -> None:
    def source() -> AudioSource:
        return AudioSource(context, addresses, "hear", Stamp("mic", "1"), ring_s=RING_S, can_wait=True)

    first = source()
    first.publish(0, sound(0), 0)
    first.close()
    second = source()
    assert (second.epoch, second.newest) == (first.epoch, 0)
    second.close()


def test_a_commit_for_which_there_is_no_room_is_told_and_does_no_harm(stream: Stream) -> None:
    unsent: list[int] = []
    reader = AudioReader(stream.context, stream.addresses, "other", Stamp("vad", "1"), on_unsent=lambda: unsent.append(1))
    for sample in range(AUDIO_HIGH_WATER_MARK + 5):  # there is no source of that name
        reader.commit(sample)
    assert len(unsent) >= 5
    reader.close()


def test_a_source_that_can_wait_knows_how_much_room_there_is(stream: Stream) -> None:
    stream.speak(0, 100)
    assert stream.source.room_samples == (RING_FRAMES - 100) * FRAME_SAMPLES


def test_a_stream_has_one_source(stream: Stream) -> None:
    with pytest.raises(InstanceRunning, match="'mic' has a source already"):
        AudioSource(stream.context, stream.addresses, "mic", Stamp("mic", "2"), ring_s=RING_S, can_wait=False)


def test_rubbish_on_the_history_socket_is_counted(stream: Stream) -> None:
    with stream.context.socket(zmq.DEALER) as stranger:
        stranger.connect(stream.addresses.audio_history("mic"))
        stranger.send_multipart([b"audio.since", b"\xc1"])
        reader = stream.open_reader()
        stream.speak(0, 1)
        stream.until_frames(reader, 1)
        pump_until(lambda: len(stream.bad) == 1, lambda: stream.pump(reader))


def _ask(stream: Stream, *bodies: Body) -> list[AudioHistory]:
    """What a stranger on the history socket is answered."""
    answers: list[AudioHistory] = []
    with stream.context.socket(zmq.DEALER) as stranger:
        stranger.connect(stream.addresses.audio_history("mic"))
        for body in (*bodies, AudioSince(first_sample=0)):
            stranger.send_multipart(Stamp("stranger", "1").pack(body))

        def listen() -> None:
            stream.source.serve()
            while stranger.poll(1):
                body = decode(stranger.recv_multipart()).body
                assert isinstance(body, AudioHistory)
                answers.append(body)

        pump_until(lambda: len(answers) > sum(isinstance(body, AudioSince) for body in bodies), listen)
    return answers


def test_a_commit_of_samples_that_were_never_captured_is_bad_and_commits_nothing(stream: Stream) -> None:
    stream.speak(0, 10)
    (answer,) = _ask(stream, AudioCommit(epoch=stream.source.epoch, sample=1000 * FRAME_SAMPLES))
    assert answer.committed_sample == 0
    assert len(stream.bad) == 1


def test_a_question_from_the_middle_of_a_frame_is_answered_with_whole_frames(stream: Stream) -> None:
    stream.speak(0, 10)
    answer, _ = _ask(stream, AudioSince(first_sample=FRAME_SAMPLES + 7))
    assert (answer.first_sample, len(answer.captured_ns)) == (FRAME_SAMPLES, 9)


def test_a_file_that_restarts_takes_a_commit_of_what_its_predecessor_had_played_once_it_is_there(stream: Stream) -> None:
    stream.source.close()
    source = stream.open_source(can_wait=True)
    stream.speak(0, 5)
    (answer,) = _ask(stream, AudioCommit(epoch=source.epoch, sample=8 * FRAME_SAMPLES, note="here"))
    assert answer.committed_sample == 0
    stream.speak(5, 5)
    assert (source.mark.sample, source.mark.note) == (8 * FRAME_SAMPLES, "here")
    assert stream.bad == []
