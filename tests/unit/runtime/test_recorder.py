"""The recorder keeps the last minutes and what it is asked to keep, whatever becomes of its disk."""

from __future__ import annotations

import errno
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.actor import Runtime
from actors.recorder.actor import Recorder
from actors.recorder.files import Flight, create
from bus.clock import Clock, ManualClock
from bus.codec import Stamp, decode
from bus.flight import flight_files, forget_flight
from bus.messages.record import RecordStart, RecordState, RecordStop
from bus.messages.reply import ReplyDelta, ReplyFinished
from bus.recording import About, Recording, RecordingWriter, read_flight
from tests.fakes.audio_instance import Instance, Listener, settings


@pytest.fixture(autouse=True)
def planes(request: pytest.FixtureRequest) -> None:
    if "instance" in request.fixturenames:
        request.getfixturevalue("instance").start_planes()


class Scene:
    """A recorder, somebody who talks, and somebody who hears what the recorder says."""

    def __init__(self, instance: Instance, **recorder: object) -> None:
        self.instance = instance
        self.heard = Listener("record.state", "reply.")
        instance.start("listener", self.heard)
        instance.start("recorder", Recorder, settings(recorder=recorder))
        instance.until_ready()

    def say(self, *texts: str) -> None:
        runtime = self.instance._running["listener"][0]
        for index, text in enumerate(texts):
            runtime.publish(ReplyDelta(attempt=1, index=index, text=text), turn="t", stream="mic")
        self.instance.until(lambda: [body.text for body in self.bodies(ReplyDelta)][-len(texts) :] == list(texts))

    def ask(self, question: RecordStart | RecordStop) -> RecordState:
        before = len(self.bodies(RecordState))
        self.instance._running["listener"][0].publish(question)
        self.instance.until(lambda: len(self.bodies(RecordState)) > before)
        found: RecordState = self.bodies(RecordState)[-1]
        return found

    def settle(self) -> None:
        """What was said before has reached the recorder as well: it answers a question that came after that by the same way."""
        assert self.ask(RecordStop()).state == "off"

    def bodies(self, kind: type) -> list:  # type: ignore[type-arg]
        return [message.body for message in self.heard.messages if isinstance(message.body, kind)]


class Told:
    """What the recorder tells its parent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts: list[str] = []
        for name in ("status", "trouble"):
            monkeypatch.setattr(Runtime, name, lambda _runtime, text: self.texts.append(text))

    @property
    def now(self) -> str:
        return self.texts[-1]


ABOUT = About()


def texts(path: Path) -> list[str]:
    return [recorded.what.body.text for recorded in Recording(path) if getattr(recorded.what, "topic", "") == "reply.delta"]  # type: ignore[union-attr]


def test_what_passes_is_in_the_flight_recording_when_the_recorder_ends(instance: Instance) -> None:
    scene = Scene(instance)
    scene.say("one", "two")
    scene.settle()
    instance.stop("recorder")
    (file,) = flight_files(instance.addresses.flight_dir)
    assert texts(file) == ["one", "two"]
    assert file.stat().st_mode & 0o077 == 0


def test_what_passed_a_moment_ago_survives_a_kill(instance: Instance) -> None:
    scene = Scene(instance)
    scene.say("one")
    instance.until(lambda: [1 for file in flight_files(instance.addresses.flight_dir) if texts(file)])
    instance.kill("recorder")
    (file,) = flight_files(instance.addresses.flight_dir)
    assert texts(file) == ["one"]


def test_without_words_it_keeps_the_events_alone(instance: Instance) -> None:
    scene = Scene(instance, flight="no-words")
    scene.say("secret")
    scene.settle()
    instance.stop("recorder")
    (file,) = flight_files(instance.addresses.flight_dir)
    assert texts(file) == [""]
    assert b"secret" not in file.read_bytes()


def test_switched_off_it_keeps_nothing_and_still_records_on_purpose(instance: Instance, tmp_path: Path) -> None:
    scene = Scene(instance, flight="off")
    assert scene.ask(RecordStart(path=str(tmp_path / "a.mcap"))).state == "recording"
    scene.say("one")
    assert scene.ask(RecordStop()).state == "done"
    assert not flight_files(instance.addresses.flight_dir)
    assert texts(tmp_path / "a.mcap") == ["one"]


def test_a_recording_on_purpose_holds_what_passed_between_start_and_stop(instance: Instance, tmp_path: Path) -> None:
    scene = Scene(instance)
    scene.say("before")
    scene.ask(RecordStart(path=str(tmp_path / "a.mcap"), text=True))
    scene.say("within")
    done = scene.ask(RecordStop())
    scene.say("after")
    assert texts(tmp_path / "a.mcap") == ["within"]
    assert (done.state, done.path, done.size_bytes) == ("done", str(tmp_path / "a.mcap"), (tmp_path / "a.mcap").stat().st_size)


def test_asked_twice_it_goes_on_and_asked_for_another_file_it_refuses(instance: Instance, tmp_path: Path) -> None:
    scene = Scene(instance)
    for _ in range(2):
        assert scene.ask(RecordStart(path=str(tmp_path / "a.mcap"))).state == "recording"
    refused = scene.ask(RecordStart(path=str(tmp_path / "b.mcap")))
    assert (refused.state, refused.path) == ("busy", str(tmp_path / "b.mcap"))
    assert "recorded already" in refused.detail
    assert scene.ask(RecordStart(path=str(tmp_path / "a.mcap"), sound=False)).state == "busy"
    assert scene.ask(RecordStop()).state == "done"


@pytest.mark.parametrize(("name", "complaint"), [("there.mcap", "it is there already"), ("no/such/dir.mcap", "No such file")])
def test_a_file_that_cannot_be_made_is_told(instance: Instance, tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "there.mcap").write_bytes(b"mine")
    state = Scene(instance).ask(RecordStart(path=str(tmp_path / name)))
    assert state.state == "failed"
    assert complaint in state.detail
    assert (tmp_path / "there.mcap").read_bytes() == b"mine"


def test_nothing_to_stop_is_told(instance: Instance) -> None:
    assert Scene(instance).ask(RecordStop()).state == "off"


def test_a_full_disk_ends_the_recording_with_a_line_and_not_the_recorder(instance: Instance) -> None:
    scene = Scene(instance, flight="off")
    state = scene.ask(RecordStart(path="/dev/full/a.mcap"))
    assert state.state == "failed"
    with tempfile.TemporaryDirectory() as directory:
        scene.ask(RecordStart(path=str(Path(directory) / "a.mcap")))
        session = instance._running["recorder"][1]._session  # type: ignore[attr-defined]
        os.dup2(os.open("/dev/full", os.O_WRONLY), session.writer._output.fileno())
        before = len(scene.bodies(RecordState))
        scene.say("one")
        instance.until(lambda: len(scene.bodies(RecordState)) > before)
    failed = scene.bodies(RecordState)[-1]
    assert failed.state == "failed"
    assert "No space left" in failed.detail
    assert not instance.ended("recorder")


def test_a_recorder_that_is_killed_goes_on_with_the_recording_in_a_second_file(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARSHOT_INCARNATION", "ab12.1")
    scene = Scene(instance)
    scene.ask(RecordStart(path=str(tmp_path / "a.mcap")))
    instance.kill("recorder")
    instance.start("recorder", Recorder, settings())
    instance.until_ready()
    scene.say("after")
    first, second = tmp_path / "a.mcap", tmp_path / "a-2.mcap"
    instance.until(lambda: texts(second) == ["after"])
    instance.kill("recorder")
    instance.start("recorder", Recorder, settings())
    instance.until_ready()
    done = scene.ask(RecordStop())
    third = tmp_path / "a-3.mcap"
    assert (done.state, done.path, done.more) == ("done", str(first), [str(second), str(third)])
    assert done.size_bytes == sum(file.stat().st_size for file in (first, second, third))


def test_what_is_missing_between_the_files_of_a_recording_is_told(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARSHOT_INCARNATION", "ab12.1")
    scene = Scene(instance)
    scene.ask(RecordStart(path=str(tmp_path / "a.mcap")))
    for number in (1, 2):
        instance.kill("recorder")
        last = max(tmp_path.glob("*.mcap"), key=lambda file: file.stat().st_ctime_ns)
        os.utime(last, ns=(0, time.time_ns() - 5_000_000_000))
        instance.start("recorder", Recorder, settings())
        instance.until_ready()
        assert 5000 * number <= scene.ask(RecordStart(path=str(tmp_path / "a.mcap"))).missing_ms < 5000 * number + 60_000


def test_a_recording_ends_when_nobody_waits_for_its_end_any_more(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.recorder.actor.ABSENT_S", 3.0)
    scene = Scene(instance)
    start = RecordStart(path=str(tmp_path / "a.mcap"), attended=True)
    begun_s = time.monotonic()
    while time.monotonic() < begun_s + 4:  # longer than it would wait
        assert scene.ask(start).state == "recording"
    instance.until(lambda: scene.bodies(RecordState)[-1].state == "done")
    assert scene.ask(RecordStop()).state == "off"


def test_one_that_nobody_waits_for_goes_on(instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.recorder.actor.ABSENT_S", 0.0)
    scene = Scene(instance)
    scene.ask(RecordStart(path=str(tmp_path / "a.mcap")))
    scene.say("one")
    instance.until(lambda: texts(tmp_path / "a.mcap") == ["one"])  # it has been flushed, and looked who waits
    scene.say("two")
    instance.until(lambda: texts(tmp_path / "a.mcap") == ["one", "two"])


def test_the_status_says_what_is_recorded(instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)
    scene = Scene(instance)
    assert told.now == "keeping the last minutes"
    scene.ask(RecordStart(path=str(tmp_path / "a.mcap")))
    assert told.now.startswith(f"recording to {tmp_path / 'a.mcap'} since ")
    scene.ask(RecordStop())
    assert told.now == "keeping the last minutes"


def test_a_start_that_fails_leaves_the_name_free(instance: Instance, tmp_path: Path) -> None:
    scene = Scene(instance)
    in_the_way = instance.addresses.flight_dir / "session.json"
    in_the_way.mkdir(parents=True)
    assert scene.ask(RecordStart(path=str(tmp_path / "a.mcap"))).state == "failed"
    assert not (tmp_path / "a.mcap").exists()
    in_the_way.rmdir()
    assert scene.ask(RecordStart(path=str(tmp_path / "a.mcap"))).state == "recording"


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """What a full disk does, without filling one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_whose_beginning_does_not_fit_is_not_left(tmp_path: Path) -> None:
    with files_of_at_most(10), pytest.raises(OSError, match="too large"):
        create(tmp_path / "a.mcap", ABOUT, ManualClock())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("room_bytes", [10, 600], ids=["not even the beginning fits", "the beginning fits"])
def test_a_full_disk_is_told_once_and_left_as_it_was(tmp_path: Path, room_bytes: int) -> None:
    about = About(settings="{}")
    flight = Flight(tmp_path, about, ManualClock(), keep_s=600, max_bytes=1 << 20)
    event = decode(Stamp("llm", "1").pack(ReplyFinished(attempt=1, text=os.urandom(4000).hex(), finish_reason="stop")))
    with files_of_at_most(room_bytes):
        assert not flight.flush()
        with pytest.raises(OSError, match="too large"):
            flight.event(event)
            flight.flush()
        flight.abandon()
    assert not flight_files(tmp_path)
    flight.event(event)
    assert flight.flush()


def test_while_the_disk_is_full_the_trouble_stays_and_is_told_once(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.recorder.actor.TRY_AGAIN_S", 0.02)
    monkeypatch.setattr("actors.recorder.actor.FLUSH_S", 0.02)
    tries: list[Path] = []

    def on_a_full_disk(path: Path, about: About, clock: Clock) -> RecordingWriter:
        tries.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    told = Told(monkeypatch)
    scene = Scene(instance)
    with monkeypatch.context() as full:
        full.setattr("actors.recorder.files.create", on_a_full_disk)
        forget_flight(instance.addresses)
        for number in range(1000):
            scene.say(f"lost {number}")
            if len(tries) > 3:
                break
        assert len(tries) > 3
        assert ["cannot be kept" in text for text in told.texts] == [False, True]
    instance.until(lambda: instance._running["recorder"][1]._flight is not None)  # type: ignore[attr-defined]
    scene.say("kept")
    instance.until(lambda: told.now == "keeping the last minutes")


def test_a_recording_does_not_outlive_the_assistant(instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARSHOT_INCARNATION", "ab12.1")
    scene = Scene(instance)
    scene.ask(RecordStart(path=str(tmp_path / "a.mcap")))
    instance.kill("recorder")
    monkeypatch.setenv("EARSHOT_INCARNATION", "cd34.1")
    instance.start("recorder", Recorder, settings())
    instance.until_ready()
    assert scene.ask(RecordStop()).state == "off"


def write_minutes(directory: Path, clock: ManualClock, minutes: int, *, keep_s: float = 600, max_bytes: int = 1 << 20) -> list[Path]:
    flight = Flight(directory, ABOUT, clock, keep_s=keep_s, max_bytes=max_bytes)
    stamp = Stamp("llm", "1", clock)
    for minute in range(minutes):
        for second in range(3):
            flight.event(decode(stamp.pack(ReplyFinished(attempt=minute, text=os.urandom(4000).hex(), finish_reason=str(second)))))
            flight.flush()
            clock.advance_s(20.1)
    flight.close()
    return flight_files(directory)


def test_the_last_minutes_are_a_row_of_files_read_as_one(tmp_path: Path) -> None:
    clock = ManualClock()
    files = write_minutes(tmp_path, clock, 4)
    assert len(files) > 1
    attempts = [recorded.what.body.attempt for recorded in read_flight(tmp_path, 0)]  # type: ignore[union-attr]
    assert attempts == [minute for minute in range(4) for _ in range(3)]
    half = ManualClock().wall_ns() + 120 * 10**9
    assert [recorded.what.body.attempt for recorded in read_flight(tmp_path, half)] == [2] * 3 + [3] * 3  # type: ignore[union-attr]


def test_it_never_takes_more_room_than_allowed(tmp_path: Path) -> None:
    files = write_minutes(tmp_path, ManualClock(), 60, max_bytes=100_000)
    assert sum(file.stat().st_size for file in files) <= 100_000 + 100_000 // 4


def test_files_older_than_allowed_are_thrown_away(tmp_path: Path) -> None:
    (old, *_) = write_minutes(tmp_path, ManualClock(), 2)
    os.utime(old, (0, 0))
    flight = Flight(tmp_path, ABOUT, ManualClock(), keep_s=600, max_bytes=1 << 20)
    flight.flush()
    assert old not in flight_files(tmp_path)


def test_what_is_forgotten_is_overwritten_and_a_running_recorder_begins_anew(instance: Instance) -> None:
    scene = Scene(instance)
    scene.say("secret")
    instance.until(lambda: [1 for file in flight_files(instance.addresses.flight_dir) if texts(file)])
    (old,) = flight_files(instance.addresses.flight_dir)
    with old.open("rb") as still_open:
        forget_flight(instance.addresses)
        assert not any(still_open.read(100))
    scene.say("new")
    instance.until(lambda: [1 for file in flight_files(instance.addresses.flight_dir) if texts(file) == ["new"]])
