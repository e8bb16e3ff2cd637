"""Events as lines: for people, for programs, and as they are on the wire."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec

from bus.codec import encode
from bus.limits import SAMPLE_RATE_HZ
from bus.messages.audio import AudioFrame
from bus.messages.base import Envelope, Message

GATHERED_FRAMES: Final = 10
"""So many frames of sound make one line."""
BAR_WIDTH: Final = 24
QUIETEST_DBFS: Final = -72.0
_COLOURS: Final = {
    "audio": "36",
    "speech": "36",
    "transcript": "32",
    "reply": "35",
    "prompt": "35",
    "turn": "1",
    "job": "34",
    "actor": "33",
    "loss": "31",
}


def json_line(message: Message) -> str:
    """One event as one object: `topic`, the envelope's fields, `body`, `payload_bytes`. The sound itself is never in it."""
    envelope = message.envelope
    fields = {name: getattr(envelope, name) for name in ("sender", "incarnation", "seq", "turn", "stream", "mono_ns", "wall_ns")}
    payload_bytes = len(message.payload) if message.payload is not None else 0
    body = msgspec.to_builtins(message.body)
    return json.dumps({"topic": message.topic, **fields, "body": body, "payload_bytes": payload_bytes}, ensure_ascii=False)


def raw_line(message: Message) -> str:
    """One event as it is on the wire: topic, head in hex, bytes of payload."""
    frames = encode(message.body, message.envelope, message.payload)
    return f"{message.topic} {frames[1].hex()} {len(message.payload or b'')}"


@dataclass
class Lines:
    """Makes lines for people; sound is gathered into a level bar for each third of a second."""

    width: int | None = None
    """Lines are cut to this many columns. None: they are as long as they are."""
    colour: bool = False
    _sounds: dict[tuple[str, str], list[Message]] = field(default_factory=dict)

    def of(self, message: Message) -> Iterator[str]:
        """The lines that are to be shown once this event has come: none, or one."""
        if not isinstance(message.body, AudioFrame):
            yield self._fit(message.topic, text_line(message))
            return
        gathered = self._sounds.setdefault((message.envelope.stream, message.body.epoch), [])
        gathered.append(message)
        if len(gathered) >= GATHERED_FRAMES or message.body.last:
            yield self._fit(message.topic, sound_line(gathered))
            gathered.clear()

    def _fit(self, topic: str, line: str) -> str:
        if self.width is not None and len(line) > self.width:
            line = line[: self.width - 1] + "…"
        colour = _COLOURS.get(topic.partition(".")[0]) if self.colour else None
        return line.replace(topic, f"\x1b[{colour}m{topic}\x1b[0m", 1) if colour else line


def text_line(message: Message) -> str:
    """One event as one line for people."""
    envelope = message.envelope
    values = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in msgspec.to_builtins(message.body).items())
    return _line(message.topic, envelope, envelope.turn or envelope.stream, values)


def sound_line(frames: list[Message]) -> str:
    """Some frames of one stream: how loud they were, and where in the stream they stand."""
    first, last = frames[0].body, frames[-1].body
    assert isinstance(first, AudioFrame), "these are frames"
    assert isinstance(last, AudioFrame), "these are frames"
    pcm = b"".join(frame.payload or b"" for frame in frames)
    level = level_dbfs(pcm)
    loudness = "  -inf" if math.isinf(level) else f"{level:6.1f}"
    length_ms = len(pcm) // 2 * 1000 // SAMPLE_RATE_HZ
    end = " end of the stream" if last.last else ""
    values = f"{bar(level)} {loudness} dBFS  {first.first_sample / SAMPLE_RATE_HZ:8.2f} s +{length_ms} ms{end}"
    return _line(AudioFrame.topic, frames[0].envelope, frames[0].envelope.stream, values)


def level_dbfs(pcm: bytes) -> float:
    """Root mean square of mono int16 PCM, dB of full scale; minus infinity for silence and for no sound at all."""
    samples = array("h", pcm)
    mean_square = sum(sample * sample for sample in samples) / len(samples) if samples else 0.0
    return 10 * math.log10(mean_square / 32768**2) if mean_square else -math.inf


def bar(level: float) -> str:
    """A bar from QUIETEST_DBFS to full scale."""
    filled = 0 if math.isinf(level) else round(BAR_WIDTH * (1 - min(0.0, max(QUIETEST_DBFS, level)) / QUIETEST_DBFS))
    return "▇" * filled + "·" * (BAR_WIDTH - filled)


def _line(topic: str, envelope: Envelope, about: str, values: str) -> str:
    when = datetime.fromtimestamp(envelope.wall_ns / 1e9).strftime("%H:%M:%S.%f")[:-3]
    return " ".join(part for part in (when, f"{topic:<16}", f"{envelope.sender:<10}", about, values) if part)
