"""Two recordings of the same sound, compared stage by stage: segments, transcripts, prompts, replies, times. Pure.

A *take* is what was made of one count of samples of one stream. Samples are counted from the first that was recorded, so that a
recording and its replay can be laid side by side.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Final

from bus.errors import EarshotError
from bus.limits import FRAME_BYTES, FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ
from bus.messages.base import Message
from bus.messages.reply import PromptMade
from bus.messages.speech import SpeechEnded, SpeechSkipped, TranscriptFinal
from bus.messages.turn import TurnFinished
from bus.messages.voice import VoiceCut, VoiceFinished, VoicePlaying, VoiceStarted
from bus.recording import Recorded, Sound
from bus.timings import PARTS, TOTAL_TO_FIRST_TOKEN

SAMPLES_PER_MS: Final = SAMPLE_RATE_HZ // 1000
VOICE: Final = "voice."
ROOM_NS: Final = 300_000_000
LONGEST_NS: Final = 5_000_000_000
"""How long the assistant's voice is in the room after its last sample, and after the last news of it: as the segmenter has it
(`actors/vad/duplex.py`)."""
MAX_MISSING_S: Final = 3600
"""More sound than this is not missing from a recording of ours: silence in its place would fill the memory."""

Prompt = tuple[tuple[str, str], ...]
"""(role, content) of each message."""


@dataclass
class Utterance:
    """One stretch of speech, and what became of it."""

    first_sample: int
    """From the first sample of the take."""
    end_sample: int = 0
    """0: its end was not recorded."""
    skipped_ms: int = 0
    """Not 0: too short to be a turn, so long."""
    transcript: str | None = None
    prompt: Prompt | None = None
    reply: str | None = None
    state: str = ""
    timings_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Take:
    """One stream from where its recording begins, in one epoch."""

    stream: str
    epoch: str
    begin_sample: int
    """The number that its first recorded sample had: not 0, and the source had begun before the recording."""
    pcm: bytearray = field(default_factory=bytearray)
    """Mono int16, 16 kHz; where samples are missing there is silence."""
    captured_ns: list[int] = field(default_factory=list)
    """When the last sample of each frame was captured (CLOCK_MONOTONIC); of a missing one, when the one before it was."""
    missing_samples: int = 0
    utterances: dict[int, Utterance] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return len(self.pcm) / SAMPLE_BYTES / SAMPLE_RATE_HZ

    def add(self, sound: Sound) -> None:
        """Take in some frames; what was there already is passed over. Raise EarshotError when too much is missing before them."""
        at_bytes = (sound.first_sample - self.begin_sample) * SAMPLE_BYTES
        gap_bytes = at_bytes - len(self.pcm)
        if gap_bytes > 0:
            missing_s = (self.missing_samples + gap_bytes // SAMPLE_BYTES) // SAMPLE_RATE_HZ
            if missing_s > MAX_MISSING_S:
                raise EarshotError(f"{missing_s} s of the sound of {self.stream} are missing, too many to replay it; is it damaged?")
            self.pcm.extend(bytes(gap_bytes))
            self.captured_ns += self.captured_ns[-1:] * (gap_bytes // FRAME_BYTES)
            self.missing_samples += gap_bytes // SAMPLE_BYTES
        self.pcm.extend(sound.pcm[max(0, -gap_bytes) :])
        self.captured_ns += sound.captured_ns[max(0, -gap_bytes) // FRAME_BYTES :]

    def silence(self, since_ns: int, until_ns: int) -> None:
        """What was captured then was not heard by the segmenter, but for an utterance that was being said already."""
        said = (
            (one.first_sample, one.end_sample or one.first_sample + one.skipped_ms * SAMPLES_PER_MS) for one in self.utterances.values()
        )
        heard = [range(*samples) for samples in said]
        for frame in range(bisect_left(self.captured_ns, since_ns), bisect_right(self.captured_ns, until_ns)):
            if not any(frame * FRAME_SAMPLES in samples for samples in heard):
                self.pcm[frame * FRAME_BYTES : (frame + 1) * FRAME_BYTES] = bytes(FRAME_BYTES)

    def utterance(self, first_sample: int) -> Utterance:
        relative = first_sample - self.begin_sample
        return self.utterances.setdefault(relative, Utterance(relative))


def takes(recorded: Iterable[Recorded], half_duplex: str = "") -> list[Take]:
    """Everything that has sound, in the order in which it began. What was heard before the recording began is left out.

    `half_duplex`: the stream whose segmenter was deaf while the assistant's voice sounded, if there is one. A replay speaks at times of its
    own and is not heard, so in the sound of that stream there is silence then.

    Raise EarshotError when more than an hour of sound is missing in between."""
    found: dict[tuple[str, str], Take] = {}
    events: dict[tuple[str, str], list[Message]] = defaultdict(list)
    voice: list[Message] = []
    for item in recorded:
        if isinstance(item.what, Sound):
            sound = item.what
            take = found.setdefault((sound.stream, sound.epoch), Take(sound.stream, sound.epoch, sound.first_sample))
            take.add(sound)
            continue
        if item.what.topic.startswith(VOICE):
            voice.append(item.what)
        if (turn := _turn_of(item.what)) is not None:
            events[turn[0], turn[1]].append(item.what)
    for key, take in found.items():
        _gather(take, events[key])
        if take.stream == half_duplex:
            for since_ns, until_ns in voice_heard(voice):
                take.silence(since_ns, until_ns)
    return list(found.values())


def voice_heard(messages: Iterable[Message]) -> list[tuple[int, int]]:
    """When the assistant's voice was in the room: since and until, monotonic, ns."""
    found: list[tuple[int, int]] = []
    for message in messages:
        match message.body:
            case VoiceStarted(at_ns=at_ns):
                since_ns, until_ns = at_ns, at_ns + LONGEST_NS
            case VoicePlaying(since_ns=since_ns, at_ns=at_ns):
                until_ns = at_ns + LONGEST_NS
            case VoiceFinished(at_ns=at_ns) | VoiceCut(at_ns=at_ns) if found:
                found[-1] = found[-1][0], at_ns + ROOM_NS
                continue
            case _:
                continue
        if found and since_ns <= found[-1][1]:
            found[-1] = found[-1][0], until_ns
        else:
            found.append((since_ns, until_ns))
    return found


def outcomes(recorded: Iterable[Recorded], begin_sample: int = 0) -> dict[int, Utterance]:
    """What became of the speech of the one stream of a replay, by first sample."""
    take = Take("", "", begin_sample)
    _gather(take, [item.what for item in recorded if isinstance(item.what, Message)])
    return take.utterances


def _turn_of(message: Message) -> tuple[str, str, int] | None:
    """Stream, epoch and first sample, which a turn's name consists of."""
    stream_epoch, _, sample = message.envelope.turn.rpartition("-")
    stream, _, epoch = stream_epoch.rpartition("-")
    return (stream, epoch, int(sample)) if stream and sample.isdecimal() else None


def _gather(take: Take, messages: Iterable[Message]) -> None:
    for message in messages:
        turn = _turn_of(message)
        if turn is None or turn[2] < take.begin_sample:
            continue
        match message.body:
            case SpeechEnded(end_sample=end_sample):
                take.utterance(turn[2]).end_sample = end_sample - take.begin_sample
            case SpeechSkipped(speech_ms=speech_ms):
                take.utterance(turn[2]).skipped_ms = speech_ms
            case TranscriptFinal(text=text):
                take.utterance(turn[2]).transcript = text
            case PromptMade(messages=prompt):
                take.utterance(turn[2]).prompt = tuple((part.role, part.content) for part in prompt)
            case TurnFinished(record=record):
                utterance = take.utterance(turn[2])
                utterance.reply, utterance.state, utterance.timings_ms = record.reply, record.state, record.timings_ms


STAGES: Final = ("segment", "transcript", "prompt", "reply")


@dataclass(frozen=True)
class Difference:
    """One stretch of speech as recorded and as replayed."""

    before: Utterance | None
    """None: it was not there."""
    after: Utterance | None
    stages: tuple[str, ...]
    """At which stages the two differ; empty: nowhere."""
    earlier_rounds: int = 0
    """Messages of the recorded prompt that are from before the recording: a replay cannot have them, and that is no difference."""

    @property
    def words(self) -> list[tuple[str, str]]:
        """Where the transcripts differ: (recorded words, replayed words)."""
        before, after = (_words(side) for side in (self.before, self.after))
        blocks = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        return [(" ".join(before[a:b]), " ".join(after[c:d])) for tag, a, b, c, d in blocks if tag != "equal"]


def compare(before: Mapping[int, Utterance], after: Mapping[int, Utterance]) -> list[Difference]:
    """Lay the utterances of two takes of the same sound side by side: those that overlap belong together."""
    return [_difference(*pair) for pair in _pairs(before, after)]


def _pairs(before: Mapping[int, Utterance], after: Mapping[int, Utterance]) -> Iterator[tuple[Utterance | None, Utterance | None]]:
    left, right = ([side[key] for key in sorted(side)] for side in (before, after))
    while left and right:
        a, b = left[0], right[0]
        if a.first_sample == b.first_sample or _overlap(a, b):
            yield left.pop(0), right.pop(0)
        elif a.first_sample < b.first_sample:
            yield left.pop(0), None
        else:
            yield None, right.pop(0)
    yield from ((a, None) for a in left)
    yield from ((None, b) for b in right)


def _overlap(a: Utterance, b: Utterance) -> bool:
    return max(a.first_sample, b.first_sample) < min(a.end_sample, b.end_sample)


def _difference(before: Utterance | None, after: Utterance | None) -> Difference:
    if before is None or after is None:
        return Difference(before, after, ("segment",))
    earlier = _earlier_rounds(before.prompt, after.prompt)
    same = {
        "segment": (before.first_sample, before.end_sample, before.skipped_ms) == (after.first_sample, after.end_sample, after.skipped_ms),
        "transcript": before.transcript == after.transcript,
        "prompt": _without(before.prompt, earlier) == after.prompt,
        "reply": (before.reply, before.state) == (after.reply, after.state),
    }
    return Difference(before, after, tuple(stage for stage in STAGES if not same[stage]), earlier)


def _earlier_rounds(before: Prompt | None, after: Prompt | None) -> int:
    """How many messages between the role and the rest only the recorded prompt has."""
    if before is None or after is None or len(before) <= len(after):
        return 0
    count = len(before) - len(after)
    return count if _without(before, count) == after else 0


def _without(prompt: Prompt | None, count: int) -> Prompt | None:
    if prompt is None or not count:
        return prompt
    head = 1 if prompt[0][0] == "system" else 0
    return prompt[:head] + prompt[head + count :]


def _words(utterance: Utterance | None) -> list[str]:
    return (utterance.transcript or "").split() if utterance is not None else []


def latency_ms(utterance: Utterance | None, *parts: str) -> float | None:
    """The sum of some parts of the wait, or None when none of them was recorded."""
    known = [utterance.timings_ms[part] for part in parts if part in utterance.timings_ms] if utterance is not None else []
    return sum(known) if known else None


COMPARED_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "endpoint": ("endpoint_wait",),
    "transcribe": ("transcribe",),
    "first token": ("first_token",),
    "pipeline": tuple(
        part
        for part in PARTS
        if part not in ("endpoint_wait", "transcribe", "first_token", "first_clause", "first_sound", "generate", "speak", "closing")
    ),
    "wait": (TOTAL_TO_FIRST_TOKEN,),
}
"""The times that a replay lays side by side."""
