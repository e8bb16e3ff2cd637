"""What became of each utterance. Pure: expectations and observations in, findings out.

What is expected was observed too, of the same sound without faults in the same run: the samples at which each utterance begins, its
words, and its answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Wrong = Literal["lost", "twice", "wrong", "order", "stuck", "failed"]
"""lost: said, and nothing came of it. twice: two turns or two answers for one utterance. wrong: other words, another answer or other
edges than without faults. order: answered before an earlier utterance of its stream. stuck: not over by its deadline. failed: given up
with an apology, or `supervisor hear` gave up."""
WRONGS: Final[tuple[Wrong, ...]] = ("lost", "twice", "wrong", "order", "stuck", "failed")


@dataclass(frozen=True, slots=True)
class Utterance:
    """What the same sound gives without faults."""

    first_sample: int
    transcript: str
    reply: str


@dataclass(frozen=True, slots=True)
class Record:
    """A turn as the memory store has it."""

    turn: str
    state: str
    transcript: str
    reply: str

    @property
    def first_sample(self) -> int:
        return first_sample_of(self.turn)


@dataclass(frozen=True, slots=True)
class Play:
    """One stream: a script said once, and what came of it."""

    stream: str
    expected: Sequence[Utterance]
    records: Sequence[Record]
    """From the memory store, in the order in which they were written."""
    shown: Sequence[str] = ()
    """The turns that `supervisor hear` printed, as often as it did."""
    parked: frozenset[str] = frozenset()
    """Turns of which a job was given up, as the dispatcher has it."""
    overdue: bool = False
    """It was not over by its deadline."""
    complaint: str = ""
    """What `supervisor hear` said when it did not end well."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not happen."""

    what: Wrong
    stream: str
    number: int
    """Which utterance of the stream, from 0; -1: the stream as a whole."""
    detail: str = ""


def first_sample_of(turn: str) -> int:
    """Where a turn begins: a turn is named after its stream, epoch and first sample."""
    return int(turn.rpartition("-")[2])


def words(text: str) -> list[str]:
    """The words of a sentence, without case and punctuation."""
    return re.findall(r"[a-z0-9']+", text.lower())


def nearest(expected: Sequence[Utterance], first_sample: int) -> int:
    """Which utterance begins closest to a sample."""
    return min(range(len(expected)), key=lambda number: abs(expected[number].first_sample - first_sample))


def judge(play: Play) -> list[Finding]:
    """Everything that is wrong with one stream."""
    return [*_of_the_whole(play), *_of_each(play), *_order(play)]


def _of_the_whole(play: Play) -> Iterator[Finding]:
    if play.overdue:
        yield Finding("stuck", play.stream, -1, "not over by its deadline")
    if play.complaint:
        yield Finding("failed", play.stream, -1, play.complaint)


def _of_each(play: Play) -> Iterator[Finding]:
    heard: list[list[Record]] = [[] for _ in play.expected]
    for record in play.records:
        heard[nearest(play.expected, record.first_sample)].append(record)
    parked = {nearest(play.expected, first_sample_of(turn)) for turn in play.parked}
    for number, (utterance, records) in enumerate(zip(play.expected, heard, strict=True)):
        turns = {record.turn for record in records}
        shown = sum(play.shown.count(turn) for turn in turns)
        if not records and number not in parked:
            yield Finding("lost", play.stream, number, "no turn and no notice of it")
        elif not records:
            yield Finding("failed", play.stream, number, "given up, and not remembered")
        if len(records) > 1:
            yield Finding("twice", play.stream, number, f"turns {', '.join(record.turn for record in records)}")
        elif shown > 1:
            yield Finding("twice", play.stream, number, f"shown {shown} times")
        for record in records:
            yield from _of_record(play.stream, number, utterance, record)


def _of_record(stream: str, number: int, utterance: Utterance, record: Record) -> Iterator[Finding]:
    if record.state == "failed":
        yield Finding("failed", stream, number, "given up with an apology")
        return
    if words(record.transcript) != words(utterance.transcript):
        yield Finding("wrong", stream, number, f"heard {record.transcript!r} and not {utterance.transcript!r}")
    elif words(record.reply) != words(utterance.reply):
        yield Finding("wrong", stream, number, f"answered {record.reply!r} and not {utterance.reply!r}")
    if record.first_sample != utterance.first_sample:
        yield Finding("wrong", stream, number, f"cut at sample {record.first_sample} and not at {utterance.first_sample}")


def _order(play: Play) -> Iterator[Finding]:
    latest = -1
    for record in play.records:
        number = nearest(play.expected, record.first_sample)
        if number < latest:
            yield Finding("order", play.stream, number, f"answered after utterance {latest}")
        latest = max(latest, number)
