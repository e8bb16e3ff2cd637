"""Where the time of a turn went.

A turn's jobs carry *marks*: when the turn passed which point, CLOCK_MONOTONIC in ns, which is one clock for all processes of
a machine. Each stage adds its own marks. `timings_ms` makes the parts of the wait out of them, from the true end of speech.

Work may be done ahead, before the end of the utterance is decided: its marks then lie before COMMITTED. The wait is cut at the marks in
their logical order, each taken as no earlier than the one before it, so that work done ahead takes none of the wait. How long it took
all the same is told beside the parts, as `transcribe_ahead` and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise
from typing import Final

from bus.messages.jobs import Attempt
from bus.messages.turn import PastAttempt

SPEECH_END: Final = "speech_end"
"""The last frame of speech was captured. Set by the segmenter, from the frame's capture time."""
COMMITTED: Final = "committed"
"""The end of the utterance was decided."""
SUBMITTED: Final = "submitted"
"""The `transcribe` job was handed to the dispatcher."""
STT_START: Final = "stt_start"
"""A Whisper worker took the job."""
STT_END: Final = "stt_end"
"""The transcript was there."""
TURN_START: Final = "turn_start"
"""The turn manager took the transcript."""
TURN_END: Final = "turn_end"
"""The turn manager had decided what is to happen."""
RECALL_START: Final = "recall_start"
"""Memory took the question."""
RECALL_END: Final = "recall_end"
"""The context was found."""
LLM_START: Final = "llm_start"
"""The request was sent to the language model."""
FIRST_TOKEN: Final = "first_token"
"""The first piece of the reply was there."""
FIRST_SHOWN: Final = "first_shown"
"""The first piece of the reply was told to all. Set where the answer was made ahead: its words wait until the bridge knows of the commit.
Without it the first piece was told when it was there."""
FIRST_CLAUSE: Final = "first_clause"
"""The piece of the reply that ends its first clause was there: what can be spoken while the rest is still being made."""
FIRST_SOUND: Final = "first_sound"
"""The first sample of the spoken reply was heard."""
LAST_TOKEN: Final = "last_token"
"""The reply was complete."""
LAST_SOUND: Final = "last_sound"
"""The last sample of the spoken reply was heard."""
REMEMBERED: Final = "remembered"
"""The turn was about to be written into the memory store; it is over."""
RETRIED: Final = "retried"
"""The user had a turn tried again that had been given up. Its other marks begin anew; this one is no part of the wait."""

PARTS: Final[Mapping[str, str]] = {
    "endpoint_wait": COMMITTED,
    "submit": SUBMITTED,
    "stt_queue": STT_START,
    "transcribe": STT_END,
    "turn_wait": TURN_START,
    "turn_logic": TURN_END,
    "recall_wait": RECALL_START,
    "recall": RECALL_END,
    "llm_queue": LLM_START,
    "first_token": FIRST_TOKEN,
    "release": FIRST_SHOWN,
    "first_clause": FIRST_CLAUSE,
    "first_sound": FIRST_SOUND,
    "generate": LAST_TOKEN,
    "speak": LAST_SOUND,
    "closing": REMEMBERED,
}
"""The parts of a turn in their order, each with the mark that ends it; the first begins with SPEECH_END.

endpoint_wait: silence waited out, until the end was decided. submit: handing the utterance over. stt_queue: waiting for a free
Whisper worker. transcribe: speech to text. turn_wait: the transcript on its way, and waiting for earlier turns of its stream.
turn_logic: deciding what to do. recall_wait: on the way to memory. recall: finding the context. llm_queue: on the way to the
bridge. first_token: from the request to the first piece of the reply. release: of an answer made ahead, until its words may be told.
first_clause: from there to the end of its first clause. first_sound: from there until it is heard, with a voice. generate: from there to
the whole reply. speak: from there until all of it has been heard. closing: the reply on its way to memory.
"""

WAITED: Final = tuple(PARTS)[: tuple(PARTS).index("release") + 1]
"""The parts that the wait for the first word is made of."""

_NEVER_AHEAD: Final = ("release", "first_sound", "speak")
AHEAD: Final[Mapping[str, str]] = {
    part: f"{part}_ahead" for part in tuple(PARTS)[tuple(PARTS).index("transcribe") :] if part not in _NEVER_AHEAD
}
"""The parts that may be done ahead, each with the name of its time ahead."""

TOTAL: Final = "total"
"""From the first mark to the last: the sum of the parts."""
TOTAL_TO_FIRST_TOKEN: Final = "total_to_first_token"
"""The wait that the speaker felt: from the first mark until the first piece of the reply was told; absent if there was none."""

MARKS: Final = (SPEECH_END, *PARTS.values())
"""All marks, in the order of the course of a turn."""


def speech_ns(marks: Mapping[str, int], speech_ms: int, now_ns: int) -> tuple[int, int]:
    """When the speech of a turn began and ended, monotonic; of one that is not marked, as if it had ended just now. Pauses in it are
    not counted, so it may have begun a little earlier."""
    end_ns = marks.get(SPEECH_END, now_ns)
    return end_ns - speech_ms * 1_000_000, end_ns


def timings_ms(marks: Mapping[str, int]) -> dict[str, float]:
    """Turn `marks` (monotonic ns) into the parts of the turn in ms, in order, then the times AHEAD, TOTAL_TO_FIRST_TOKEN and TOTAL.

    Every part is a whole number of microseconds and none is negative, so the parts add up to the total. A stage whose end
    was not marked has no part: its time is in the next part that is there. A mark that lies before an earlier one counts as
    equal to it. Other names among the marks are ignored. Without marks the result is empty.

    The times ahead are no part of the wait. Together they last from the beginning of the work ahead until the end was decided, when the
    turn goes on: what had been done waited for that in the part that comes next. One that is 0 is left out.
    """
    present = [name for name in MARKS if name in marks]
    if not present:
        return {}
    at_us = {name: round((marks[name] - marks[present[0]]) / 1000) for name in present}
    reached_us: dict[str, int] = {}
    latest_us = 0
    for name in present:
        latest_us = reached_us[name] = max(latest_us, at_us[name])
    timings: dict[str, float] = {}
    before_us = 0
    for part, end in PARTS.items():
        if end in reached_us and end != present[0]:
            timings[part] = (reached_us[end] - before_us) / 1000
            before_us = reached_us[end]
    timings |= _ahead_ms(at_us)
    told_us = reached_us.get(FIRST_SHOWN, reached_us.get(FIRST_TOKEN))
    if told_us is not None:
        timings[TOTAL_TO_FIRST_TOKEN] = told_us / 1000
    timings[TOTAL] = latest_us / 1000
    return timings


def _ahead_ms(at_us: Mapping[str, int]) -> dict[str, float]:
    """The times ahead, from marks that count in µs from the first of them. Without an endpoint nothing is ahead of it."""
    decided_us = at_us.get(COMMITTED, 0)
    course = [(name, at_us[PARTS[part]]) for part, name in {"stt_queue": "", **AHEAD}.items() if PARTS[part] in at_us]
    reached_us = [min(latest_us, decided_us) for latest_us in accumulate((end_us for _, end_us in course), max, initial=0)][1:]
    found = {}
    for (name, _), (before_us, end_us) in zip(course[1:], pairwise(reached_us), strict=True):
        if end_us > before_us:
            found[name] = (end_us - before_us) / 1000
    return found


def attempts_ms(marks: Mapping[str, int], history: Iterable[Attempt]) -> list[PastAttempt]:
    """The history of a turn in ms from its first mark, in whole microseconds, as its parts are. Without marks it is empty.

    None begins before the first mark or ends before it begins: of times from before a restart of the machine nothing better is known.
    """
    present = [name for name in MARKS if name in marks]
    if not present:
        return []
    begin_ns = marks[present[0]]
    found = []
    for attempt in history:
        begin_us = max(0, round((attempt.leased_ns - begin_ns) / 1000))
        end_us = max(begin_us, round((attempt.ended_ns - begin_ns) / 1000))
        found.append(
            PastAttempt(
                stage=attempt.stage,
                worker=attempt.worker,
                number=attempt.number,
                begin_ms=begin_us / 1000,
                end_ms=end_us / 1000,
                lost=attempt.lost,
            )
        )
    return found
