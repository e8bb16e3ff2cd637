"""Recordings: the events and the sound of an instance in an MCAP file, which Foxglove and the `mcap` tools read too.

Events are JSON with their schema, one channel for each topic; sound is Foxglove's `RawAudio`, one channel for each stream
(`audio/mic`), with our sample numbers beside it. Chunks are small and are flushed, so that after a kill all is there but the last moment.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import mcap.exceptions
import msgspec
from mcap.records import Channel, Metadata
from mcap.records import Message as McapMessage
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

from bus.clock import Clock
from bus.errors import EarshotError
from bus.flight import flight_files
from bus.limits import SAMPLE_RATE_HZ, SCHEMA_VERSION
from bus.messages.base import Body, Envelope, Message, body_type

CHUNK_BYTES: Final = 32 * 1024
RECORD_LIMIT_BYTES: Final = 64 << 20
"""No record of ours is larger; a torn or foreign file may claim any length."""
ABOUT: Final = "earshot"
"""Name of the metadata record that says whose file it is."""
AUDIO: Final = "audio/"
"""Sound of stream S is the channel `audio/S`. No event has a topic with a slash."""
RAW_AUDIO: Final = "foxglove.RawAudio"

_RAW_AUDIO_SCHEMA: Final = {
    "title": RAW_AUDIO,
    "type": "object",
    "properties": {
        "timestamp": {"type": "object", "title": "time", "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}},
        "data": {"type": "string", "contentEncoding": "base64"},
        "format": {"type": "string"},
        "sample_rate": {"type": "integer"},
        "number_of_channels": {"type": "integer"},
        "epoch": {"type": "string", "description": "names the count of samples"},
        "first_sample": {"type": "integer", "description": "number of the first sample within the epoch"},
        "captured_ns": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "for each 480 samples, when the last of them was captured, CLOCK_MONOTONIC",
        },
    },
}


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording says of itself."""

    program: str = "earshot"
    program_version: str = ""
    schema_version: int = SCHEMA_VERSION
    settings: str = "{}"
    """The resolved configuration, JSON. It holds no key: those are in the environment alone."""
    with_words: bool = True
    """Whether what was said is in it."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Some frames of one stream, one after the other without a hole."""

    stream: str
    epoch: str
    first_sample: int
    captured_ns: tuple[int, ...]
    """For each 480 samples, when the last of them was captured (CLOCK_MONOTONIC)."""
    pcm: bytes
    """Mono int16, 16 kHz."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One thing that was recorded."""

    log_ns: int
    """Wall time at which it was written down."""
    what: Message | Sound


class RecordingWriter:
    """Writes one file. Every method may raise OSError; the file is then as long as it could become, and readable so far."""

    def __init__(self, output: BinaryIO, about: About, clock: Clock) -> None:
        self._output = output
        self._clock = clock
        self._channels: dict[str, int] = {}
        self._with_words = about.with_words
        self._dirty = False
        self.messages = 0
        self._writer = Writer(output, chunk_size=CHUNK_BYTES, compression=CompressionType.ZSTD)
        self._writer.start(profile="earshot")
        self._writer.add_metadata(ABOUT, {name: str(value) for name, value in msgspec.structs.asdict(about).items()})
        self._output.flush()

    @property
    def size_bytes(self) -> int:
        """Of the file, without what is not flushed."""
        return self._output.tell()

    def event(self, message: Message) -> None:
        """Write an event down; without its words, if that was asked for."""
        body = message.body if self._with_words else without_words(message.body)
        fields = {**_fields_of(message.envelope), "body": body}
        self._add(
            self._event_channel(message.topic), msgspec.json.encode(fields), message.envelope.wall_ns, message.envelope.seq & 0xFFFFFFFF
        )

    def sound(self, sound: Sound) -> None:
        """Write frames down."""
        now_ns = self._clock.wall_ns()
        begin_ns = now_ns - self._clock.monotonic_ns() + (sound.captured_ns[0] if sound.captured_ns else 0)
        seconds, nanoseconds = divmod(begin_ns, 1_000_000_000)
        fields = {
            "timestamp": {"sec": seconds, "nsec": nanoseconds},
            "data": base64.b64encode(sound.pcm).decode(),
            "format": "pcm-s16",
            "sample_rate": SAMPLE_RATE_HZ,
            "number_of_channels": 1,
            "epoch": sound.epoch,
            "first_sample": sound.first_sample,
            "captured_ns": sound.captured_ns,
        }
        channel = self._channel(AUDIO + sound.stream, RAW_AUDIO, _RAW_AUDIO_SCHEMA)
        self._add(channel, msgspec.json.encode(fields), begin_ns, sound.first_sample & 0xFFFFFFFF)

    def flush(self) -> None:
        """Put what there is into the file, so that it survives a kill."""
        if self._dirty:
            self._dirty = False
            self._writer.flush()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Finish the file with its index, and close it."""
        try:
            self._writer.finish()  # type: ignore[no-untyped-call]
        finally:
            self._output.close()

    def abandon(self) -> None:
        """Close a file that cannot be written any more. It has no index, and is readable all the same."""
        with suppress(OSError):
            self._output.close()

    def _add(self, channel: int, data: bytes, publish_ns: int, sequence: int) -> None:
        self._dirty = True
        self.messages += 1
        self._writer.add_message(channel, self._clock.wall_ns(), data, max(0, publish_ns), sequence)

    def _event_channel(self, topic: str) -> int:
        return self._channels.get(topic) or self._channel(topic, topic, event_schema(topic))

    def _channel(self, topic: str, schema_name: str, schema: Mapping[str, Any]) -> int:
        if topic not in self._channels:
            schema_id = self._writer.register_schema(schema_name, "jsonschema", msgspec.json.encode(schema))
            self._channels[topic] = self._writer.register_channel(topic, "json", schema_id)
        return self._channels[topic]


def without_words(body: Body) -> Body:
    """The same event, with what was said left out."""
    return msgspec.convert(_blank(msgspec.to_builtins(body), body.words), type(body)) if body.words else body


def _blank(value: Any, names: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {name: "" if name in names else _blank(item, names) for name, item in value.items()}
    if isinstance(value, list):
        return [_blank(item, names) for item in value]
    return value


@cache
def event_schema(topic: str) -> dict[str, Any]:
    """The JSON schema of the events of a topic, whole: readers need not follow references. Raise KeyError for an unknown topic."""
    kind = body_type(topic)
    if kind is None:
        raise KeyError(topic)
    (body, envelope), components = msgspec.json.schema_components((kind, _EnvelopeFields))
    whole = _resolve(envelope, components)
    return {"title": topic, "type": "object", "properties": {**whole["properties"], "body": _resolve(body, components)}}


def _resolve(schema: Any, components: Mapping[str, Any]) -> Any:
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _resolve(components[schema["$ref"].rpartition("/")[2]], components)
        return {name: _resolve(value, components) for name, value in schema.items()}
    if isinstance(schema, list):
        return [_resolve(value, components) for value in schema]
    return schema


def _fields_of(envelope: Envelope) -> dict[str, Any]:
    return {name: getattr(envelope, name) for name in Envelope.__struct_fields__}


_EnvelopeFields = msgspec.defstruct(
    "Envelope", [(name, int if name in ("version", "seq", "mono_ns", "wall_ns") else str) for name in Envelope.__struct_fields__]
)


class _EventLine(msgspec.Struct, frozen=True):
    """An event as it stands in the file."""

    version: int
    sender: str
    incarnation: str
    seq: int
    mono_ns: int
    wall_ns: int
    turn: str
    stream: str
    body: msgspec.Raw


class _SoundLine(msgspec.Struct, frozen=True):
    data: str
    epoch: str
    first_sample: int
    captured_ns: tuple[int, ...]


@dataclass
class Recording:
    """A recording being read. Iterate it once; `about` is there from the beginning, `torn` and `unknown` after the end."""

    path: Path
    about: About = field(init=False)
    torn: bool = False
    """Its end is missing: the recorder was killed, or the disk was full."""
    unknown: int = 0
    """Messages of types that this program does not know."""

    def __post_init__(self) -> None:
        """Raise EarshotError when it cannot be read, is no recording of Earshot, or comes from a newer one."""
        self._records = self._raw()
        for record in self._records:
            if isinstance(record, Metadata) and record.name == ABOUT:
                self.about = self._read_about(record.metadata)
                return
            if isinstance(record, McapMessage):
                break
        torn = "it ends before it begins" if self.torn else "it is an MCAP file of another program"
        raise EarshotError(f"{self.path} is not a recording of Earshot: {torn}")

    def __iter__(self) -> Iterator[Recorded]:
        channels: dict[int, Channel] = {}
        for record in self._records:
            if isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, McapMessage) and record.channel_id in channels:
                what = self._read(channels[record.channel_id].topic, record.data)
                if what is not None:
                    yield Recorded(record.log_time, what)

    def _read(self, topic: str, data: bytes) -> Message | Sound | None:
        try:
            if topic.startswith(AUDIO):
                line = msgspec.json.decode(data, type=_SoundLine)
                return Sound(topic.removeprefix(AUDIO), line.epoch, line.first_sample, line.captured_ns, base64.b64decode(line.data))
            kind = body_type(topic)
            if kind is not None:
                event = msgspec.json.decode(data, type=_EventLine)
                envelope = Envelope(**{name: getattr(event, name) for name in Envelope.__struct_fields__})
                return Message(topic, envelope, msgspec.json.decode(event.body, type=kind))
        except (msgspec.MsgspecError, ValueError):
            pass
        self.unknown += 1
        return None

    def _read_about(self, found: Mapping[str, str]) -> About:
        try:
            about = msgspec.convert(found, About, strict=False)
        except msgspec.ValidationError as error:
            raise EarshotError(f"{self.path} cannot be read: its description is damaged ({error})") from None
        if about.schema_version > SCHEMA_VERSION:
            formats = f"format {about.schema_version}, this one knows {SCHEMA_VERSION}"
            raise EarshotError(f"{self.path} was recorded by a newer Earshot ({formats}); upgrade Earshot")
        return about

    def _raw(self) -> Iterator[Any]:
        try:
            with self.path.open("rb") as file:
                yield from StreamReader(file, validate_crcs=True, record_size_limit=RECORD_LIMIT_BYTES).records
        except OSError as error:
            raise EarshotError(f"cannot read {self.path}: {error.strerror}") from None
        except mcap.exceptions.InvalidMagic:
            if not self.torn and file_is_foreign(self.path):
                raise EarshotError(f"{self.path} is not a recording: it does not begin as an MCAP file does") from None
            self.torn = True
        except (mcap.exceptions.McapError, struct.error, ValueError, OverflowError, MemoryError, EOFError):
            self.torn = True
        except Exception as error:  # zstandard and lz4 have errors of their own
            if type(error).__module__.partition(".")[0] not in ("zstandard", "zstd", "lz4", "mcap"):
                raise
            self.torn = True


def file_is_foreign(path: Path) -> bool:
    """Whether a file does not begin as an MCAP file does."""
    with path.open("rb") as file:
        return file.read(8) != b"\x89MCAP0\r\n"


def read_flight(directory: Path, since_ns: int) -> Iterator[Recorded]:
    """What the flight recorder still has from that wall time on, oldest first. Files that go away meanwhile are passed over."""
    for path in flight_files(directory):
        with suppress(EarshotError):
            for recorded in Recording(path):
                if recorded.log_ns >= since_ns:
                    yield recorded
