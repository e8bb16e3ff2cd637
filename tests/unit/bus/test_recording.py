"""What is recorded can be read again, by us and by others, whole or torn."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import Writer

from bus.clock import ManualClock
from bus.codec import Stamp, decode
from bus.errors import EarshotError
from bus.limits import FRAME_BYTES, MAX_TEXT_CHARS, SCHEMA_VERSION
from bus.messages.base import Body, Message, body_types
from bus.messages.reply import ReplyDelta
from bus.messages.speech import TranscriptFinal
from bus.messages.turn import TurnFinished
from bus.recording import About, Recorded, Recording, RecordingWriter, Sound, event_schema, without_words
from tests.examples import any_of, example

EVENTS = sorted(body_types().items())
CLOCK = ManualClock()


def message(body: Body) -> Message:
    return decode(Stamp("whisper-1", "a.1", CLOCK).pack(body, turn="t", stream="mic"))


def sound(first_sample: int = 0, frames: int = 3) -> Sound:
    return Sound(
        "mic", "e1", first_sample, tuple(range(1000, 1000 + frames)), bytes(range(256)) * (frames * FRAME_BYTES // 256) + bytes(192)
    )


def write(path: Path, what: Sequence[Message | Sound], about: About | None = None) -> None:
    writer = RecordingWriter(path.open("wb"), about or About(program_version="1"), CLOCK)
    for item in what:
        writer.event(item) if isinstance(item, Message) else writer.sound(item)
    writer.close()


def read(path: Path) -> tuple[list[Message | Sound], Recording]:
    recording = Recording(path)
    return [recorded.what for recorded in recording], recording


@pytest.mark.parametrize(("topic", "kind"), EVENTS)
def test_each_event_is_read_as_it_was_written(topic: str, kind: type[Body], tmp_path: Path) -> None:
    @settings(max_examples=5)
    @given(any_of(kind))
    def comes_back(body: Body) -> None:
        assume("inf" not in repr(body))  # JSON has no infinity, and no event tells of one
        path = tmp_path / "a.mcap"
        write(path, [message(body)])
        found, recording = read(path)
        assert [(item.topic, item.body, item.envelope) for item in found if isinstance(item, Message)] == [
            (topic, body, message(body).envelope)
        ]
        assert (recording.torn, recording.unknown) == (False, 0)

    comes_back()


def test_sound_comes_back_sample_for_sample(tmp_path: Path) -> None:
    write(tmp_path / "a.mcap", [sound(0), sound(1440, 10)])
    assert read(tmp_path / "a.mcap")[0] == [sound(0), sound(1440, 10)]


def test_the_tools_of_mcap_read_it_with_topics_schemas_and_times(tmp_path: Path) -> None:
    write(tmp_path / "a.mcap", [message(ReplyDelta(attempt=1, index=0, text="Hello")), sound()])
    with (tmp_path / "a.mcap").open("rb") as file:
        found = {channel.topic: (schema, item) for schema, channel, item in make_reader(file).iter_messages()}
    schema, item = found["reply.delta"]
    assert schema is not None
    assert json.loads(schema.data)["properties"]["body"]["properties"]["text"] == {"type": "string", "maxLength": MAX_TEXT_CHARS}
    assert json.loads(item.data)["body"]["text"] == "Hello"
    assert item.publish_time == CLOCK.wall_ns()
    schema, item = found["audio/mic"]
    assert schema is not None
    assert schema.name == "foxglove.RawAudio"
    assert {"timestamp", "data", "format", "sample_rate", "number_of_channels"} <= set(json.loads(item.data))


@pytest.mark.parametrize("topic", [topic for topic, _ in EVENTS])
def test_the_schema_of_an_event_stands_alone(topic: str) -> None:
    assert "$ref" not in json.dumps(event_schema(topic))


def whole_recording() -> tuple[bytes, list[Message | Sound], list[int]]:
    """The bytes of a file, what is in it, and how long it was after each flush."""
    output = io.BytesIO()
    output.close = lambda: None  # type: ignore[method-assign]
    writer = RecordingWriter(output, About(program_version="1"), CLOCK)
    items: list[Message | Sound] = []
    lengths = [output.tell()]
    for number in range(6):
        items.append(message(ReplyDelta(attempt=1, index=number, text="word")))
        writer.event(items[-1])  # type: ignore[arg-type]
        writer.flush()
        lengths.append(output.tell())
    writer.close()
    return output.getvalue(), items, lengths


WHOLE, ITEMS, LENGTHS = whole_recording()


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_that_ends_anywhere_is_read_up_to_the_last_flush_before_that(length: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "torn.mcap"
        path.write_bytes(WHOLE[:length])
        if length < LENGTHS[0]:
            with pytest.raises(EarshotError):
                read(path)
            return
        found, recording = read(path)
        flushed = sum(flushed <= length for flushed in LENGTHS[1:])
        assert found == ITEMS[: len(found)]
        assert len(found) >= flushed
        assert recording.torn


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_never_raises_anything_else(place: int, change: int) -> None:
    data = bytearray(WHOLE)
    data[place] ^= change
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "changed.mcap"
        path.write_bytes(data)
        try:
            read(path)
        except EarshotError:
            pass


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"", "ends before it begins"), (b"RIFF....WAVEfmt ", "does not begin as an MCAP file"), (WHOLE[:8], "ends before it begins")],
)
def test_a_file_that_is_no_recording_is_told_so(content: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "a.mcap").write_bytes(content)
    with pytest.raises(EarshotError, match=complaint):
        read(tmp_path / "a.mcap")


def test_a_file_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(EarshotError, match="No such file"):
        read(tmp_path / "a.mcap")


def test_an_mcap_file_of_another_program_is_told_so(tmp_path: Path) -> None:
    with (tmp_path / "a.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        channel = writer.register_channel("t", "json", writer.register_schema("s", "jsonschema", b"{}"))
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()  # type: ignore[no-untyped-call]
    with pytest.raises(EarshotError, match="another program"):
        read(tmp_path / "a.mcap")


def test_a_recording_of_a_newer_version_is_told_so(tmp_path: Path) -> None:
    write(tmp_path / "a.mcap", [], About(schema_version=SCHEMA_VERSION + 1))
    with pytest.raises(EarshotError, match="newer Earshot"):
        read(tmp_path / "a.mcap")


@pytest.mark.parametrize(
    "body",
    [
        TranscriptFinal(text="secret", audio_ms=1, decode_ms=1, avg_logprob=0.0, no_speech_prob=0.0),
        ReplyDelta(attempt=1, index=0, text="secret"),
        msgspec.structs.replace(
            example(TurnFinished), record=msgspec.structs.replace(example(TurnFinished).record, transcript="secret", reply="secret")
        ),
    ],
    ids=lambda body: str(body.topic),
)
def test_without_words_nothing_that_was_said_is_in_the_file(body: Body, tmp_path: Path) -> None:
    assert b"secret" in msgspec.json.encode(body)
    assert b"secret" not in msgspec.json.encode(without_words(body))
    write(tmp_path / "a.mcap", [message(body)], About(with_words=False))
    (found,) = read(tmp_path / "a.mcap")[0]
    assert isinstance(found, Message)
    assert found.body == without_words(body)


SPOKEN = {"content", "text", "transcript", "reply", "user", "assistant", "words"}


@pytest.mark.parametrize(("topic", "kind"), EVENTS)
def test_every_field_that_holds_what_was_said_is_known(topic: str, kind: type[Body]) -> None:
    def names(value: object) -> set[str]:
        if isinstance(value, dict):
            return {name for name in value if isinstance(value[name], str)} | set().union(*(names(item) for item in value.values()))
        return set().union(*(names(item) for item in value)) if isinstance(value, list) else set()

    if not topic.startswith(
        ("job.submit", "job.lease", "job.done", "record.")
    ):  # these never cross the events plane; a wish holds no words
        assert names(msgspec.to_builtins(example(kind))) & SPOKEN == kind.words


def test_each_record_tells_when_it_was_written_down(tmp_path: Path) -> None:
    write(tmp_path / "a.mcap", [sound()])
    assert [recorded.log_ns for recorded in Recording(tmp_path / "a.mcap")] == [CLOCK.wall_ns()]
    assert isinstance(next(iter(Recording(tmp_path / "a.mcap"))), Recorded)
