"""The conversation, as lines on a terminal. The renderer is pure: an event goes in, text to write comes out.

Events may come twice, late or not at all. What a turn has to show is kept until it is that turn's time, so lines of two
turns never mix; `turn.finished` alone is enough to show a turn as a whole.
"""

from __future__ import annotations

import unicodedata
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bus.messages.actor import ActorState, LossTold
from bus.messages.audio import AudioGap
from bus.messages.base import Body, Message
from bus.messages.jobs import JobMoved
from bus.messages.reply import ReplyDelta, ReplyFinished, ReplyStarted, ReplyWaiting
from bus.messages.speech import SpeechEnded, SpeechSkipped, TranscriptFinal
from bus.messages.turn import TurnFinished, TurnRecord, TurnsLeft
from bus.timings import TOTAL_TO_FIRST_TOKEN

TOPICS: Final = ("actor.state", "audio.gap", "job.moved", "loss.told", "speech.", "transcript.", "reply.", "turn.")
SILENT_NS: Final = 60 * 1_000_000_000
"""A turn of which nothing was heard for so long has lost its end, and gives way to others."""
REMEMBERED_TURNS: Final = 1000
INDENT: Final = "      "
MIC: Final = "mic"
REMEMBER: Final = "remember"
IGNORED: Final = "ignored"
INTERRUPTED: Final = "interrupted"
GIVEN_UP: Final = ("failed", "unanswered", "empty")
_STYLES: Final = {"dim": "2", "user": "36", "ai": "32", "warning": "33"}


@dataclass
class _Turn:
    """What is known of a turn, and how much of it has been written."""

    id: str
    stream: str
    seen_ns: int
    transcript: str = ""
    heard: bool = False
    """Whether the transcript is known, be it empty."""
    transcript_written: bool = False
    waiting: str = ""
    attempt: int = 0
    text: str = ""
    """Of the newest attempt, as far as no piece of it is missing."""
    pieces: int = 0
    written: int = 0
    """Characters of `text` on the terminal."""
    complete: bool = False
    record: TurnRecord | None = None
    unkept: str = ""
    """Why the turn, which is over, could not be remembered."""

    @property
    def is_over(self) -> bool:
        return self.record is not None or bool(self.unkept)

    def begin_attempt(self, attempt: int) -> None:
        self.attempt, self.text, self.pieces, self.complete = attempt, "", 0, False


class Conversation:
    """Renders events. `render` returns the text to be written for one of them."""

    def __init__(self, *, show_timings: bool = True, colour: bool = False, status: bool = True) -> None:
        """`status`: tell of the assistant itself too: that it listens, and what happens to its actors."""
        self._show_timings = show_timings
        self._colour = colour
        self._status = status
        self._turns: OrderedDict[str, _Turn] = OrderedDict()
        self._over: OrderedDict[str, None] = OrderedDict()
        self._held: list[str] = []
        self._line_open = False
        self._troubled: set[str] = set()
        self._troubles: dict[str, str] = {}
        """Of actors that are ready but cannot do their work: their words."""

    def render(self, message: Message) -> str:
        """The text that this event adds."""
        return "".join(self._take(message))

    def end(self) -> str:
        """The text that ends the last line."""
        return "".join(self._close_line())

    def _take(self, message: Message) -> Iterator[str]:
        envelope, body = message.envelope, message.body
        if isinstance(body, ActorState):
            if self._status:
                yield from self._actor(body)
        elif isinstance(body, SpeechSkipped):
            yield from self._line(f"Skipped short segment ({body.speech_ms / 1000:.2f}s < {body.minimum_ms / 1000:.1f}s)", "dim")
        elif isinstance(body, AudioGap):
            yield from self._line(f"{body.samples / 16_000:.2f} s of sound were lost ({body.cause})", "warning")
        elif isinstance(body, LossTold):
            if body.cause == "frames-stale" and self._status:
                yield from self._line(_lateness(body), "warning")
        elif isinstance(body, TurnsLeft):
            yield from self._left(body)
        elif isinstance(body, TurnFinished) and body.late:
            yield from self._late(body.record)
        elif _is_told_otherwise(body) and envelope.turn not in self._turns:
            self._be_over(envelope.turn)
        elif envelope.turn and envelope.turn not in self._over and (not isinstance(body, JobMoved) or _is_unkept(body)):
            yield from self._turn_event(message)

    def _left(self, left: TurnsLeft) -> Iterator[str]:
        since = datetime.fromtimestamp(left.since_wall_ns / 1e9).strftime("%H:%M")
        turns = f"1 turn from {since} was" if left.number == 1 else f"{left.number} turns since {since} were"
        yield from self._line(f"{turns} left unanswered; see `supervisor memory list` and `supervisor parked list`", "warning")

    def _late(self, record: TurnRecord) -> Iterator[str]:
        """A turn that was given up and tried again. It comes as a whole, for others may be under way."""
        self._be_over(record.turn)
        if record.state in GIVEN_UP:
            yield from self._line(f"Tried again, and given up again: {_clean(record.detail)}", "warning")
            return
        yield from self._line("A late answer:", "dim")
        yield from self._line(f"User: {_clean(record.transcript)}", "user")
        if record.reply:
            yield from self._line(f"AI  : {_clean(record.reply)}", "ai")

    def _be_over(self, turn: str) -> None:
        self._over[turn] = None
        if len(self._over) > REMEMBERED_TURNS:
            self._over.popitem(last=False)

    def _turn_event(self, message: Message) -> Iterator[str]:
        now_ns, body = message.envelope.mono_ns, message.body
        turn = self._turns.get(message.envelope.turn)
        if turn is None:
            turn = self._turns[message.envelope.turn] = _Turn(message.envelope.turn, message.envelope.stream, now_ns)
        turn.seen_ns = now_ns
        match body:
            case SpeechEnded() if not turn.transcript:
                yield from self._line("Transcribing buffered speech...", "dim")
            case TranscriptFinal():
                turn.transcript = turn.transcript or ("" if body.rejected else body.text)
                turn.heard = True
            case ReplyWaiting():
                turn.waiting = body.reason
            case ReplyStarted() | ReplyDelta() | ReplyFinished() if body.attempt >= turn.attempt:
                yield from self._reply(turn, body)
            case TurnFinished():
                turn.record = body.record
            case JobMoved():
                turn.unkept = body.reason or "no reason was given"
        yield from self._play(now_ns)

    def _reply(self, turn: _Turn, body: ReplyStarted | ReplyDelta | ReplyFinished) -> Iterator[str]:
        if body.attempt > turn.attempt:
            if turn.written:
                yield from self._close_line(" ...")
                turn.written = 0
            turn.begin_attempt(body.attempt)
        if not isinstance(body, ReplyStarted):
            turn.waiting = ""
        if isinstance(body, ReplyDelta) and body.index == turn.pieces and not turn.complete:
            turn.text += body.text
            turn.pieces += 1
        elif isinstance(body, ReplyFinished):
            yield from self._complete(turn, body.text)

    def _complete(self, turn: _Turn, text: str) -> Iterator[str]:
        """The whole reply is known; if what was written is not its beginning, it is written anew."""
        if turn.written and not text.startswith(turn.text[: turn.written]):
            yield from self._close_line(" ...")
            turn.written = 0
        turn.text, turn.complete = text, True

    def _play(self, now_ns: int) -> Iterator[str]:
        """Write what can be written now: one turn is on the stage, the oldest, until it is over."""
        while self._turns:
            turn = next(iter(self._turns.values()))
            if not turn.is_over and self._lost(turn, now_ns):
                turn.heard = True  # what there is of it is all that there will be
                yield from self._show(turn)
                del self._turns[turn.id]  # if it does go on, it comes back as the last
                yield from self._close_line(" ...")
                continue
            yield from self._show(turn)
            if not turn.is_over:
                return
            yield from self._finish(turn)
        if self._status:
            yield from self._listening()

    def _listening(self) -> Iterator[str]:
        if MIC not in self._troubles:
            yield from self._line("Listening...", "dim")

    def _lost(self, turn: _Turn, now_ns: int) -> bool:
        """Turns of one stream end in order: when a later one has ended, the end of an earlier one got lost."""
        later = (other for other in self._turns.values() if other.stream == turn.stream and other is not turn)
        return now_ns - turn.seen_ns > SILENT_NS or any(other.is_over for other in later)

    def _show(self, turn: _Turn) -> Iterator[str]:
        """Write what is new. A reply whose question was missed waits for `turn.finished`, which has both: so a console that comes up in
        the middle of a turn shows it whole and in order, and not half."""
        if turn.record is not None:
            turn.heard = True
            turn.transcript = "" if turn.record.state == IGNORED else turn.transcript or turn.record.transcript
            if turn.record.reply and not (turn.written and _is_interrupted(turn.record)):
                yield from self._complete(turn, turn.record.reply)
        if turn.transcript and not turn.transcript_written and not turn.written:
            yield from self._line(f"User: {_clean(turn.transcript)}", "user")
            turn.transcript_written = True
        if turn.waiting:
            yield from self._close_line(" ...")
            yield from self._line(f"Waiting for the language model: {_clean(turn.waiting)}", "warning")
            turn.waiting = ""
        if turn.written < len(turn.text) and (turn.heard or turn.is_over):
            if not self._line_open:
                yield self._paint("AI  : ", "ai") + ("..." if turn.written else "")
                self._line_open = True
            yield _clean(turn.text[turn.written :])
            turn.written = len(turn.text)
        if turn.complete:
            yield from self._close_line()

    def _finish(self, turn: _Turn) -> Iterator[str]:
        del self._turns[turn.id]
        self._be_over(turn.id)
        yield from self._close_line()
        record = turn.record
        if record is None:
            yield from self._line(f"{INDENT}this turn could not be remembered: {_clean(turn.unkept)}", "warning")
            return
        if record.state == IGNORED:
            yield from self._line(f"{INDENT}not for the assistant: {_clean(record.detail)}; not kept", "dim")
        if record.state == "failed" and record.detail:
            yield from self._line(f"{INDENT}{_clean(record.detail)}", "warning")
        if _is_interrupted(record):
            yield from self._line(f"{INDENT}(interrupted)", "dim")
        wait = wait_line(record.timings_ms) if self._show_timings else ""
        if wait:
            yield from self._line(f"{INDENT}{wait}", "dim")

    def _actor(self, body: ActorState) -> Iterator[str]:
        match body.state:
            case "starting" if body.detail:
                yield from self._line(f"{body.actor}: {_clean(body.detail)}", "dim")
            case "backing-off":
                self._troubled.add(body.actor)
                yield from self._line(f"{_clean(body.detail)}; starting it again", "warning")
            case "failed":
                yield from self._line(f"{body.actor} failed: {_clean(body.detail)}", "warning")
            case "ready" if body.actor == "launcher":
                yield from self._listening()
            case "ready" if body.detail:
                if self._troubles.get(body.actor) != body.detail:
                    yield from self._line(f"{body.actor}: {_clean(body.detail)}", "warning")
                self._troubles[body.actor] = body.detail
            case "ready" if self._troubles.pop(body.actor, None):
                yield from self._line(f"{body.actor} is well again", "warning")
                yield from self._listening()
            case "ready" if body.actor in self._troubled:
                self._troubled.discard(body.actor)
                yield from self._line(f"{body.actor} is back", "warning")

    def _line(self, text: str, style: str) -> Iterator[str]:
        """A whole line: now, or as soon as the open one has ended."""
        line = self._paint(text, style) + "\n"
        if self._line_open:
            self._held.append(line)
        else:
            yield line

    def _close_line(self, text: str = "") -> Iterator[str]:
        if self._line_open:
            self._line_open = False
            yield text + "\n"
            yield from self._held
            self._held.clear()

    def _paint(self, text: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self._colour else text


def _lateness(told: LossTold) -> str:
    if told.over:
        return "the segmenter has caught up"
    return "the segmenter is behind: what you say is heard late, but all of it"


def _is_interrupted(record: TurnRecord) -> bool:
    """Whether its reply is only what was heard of it, and as it was spoken."""
    return INTERRUPTED in record.detail.split("; ")


def _is_told_otherwise(body: Body) -> bool:
    """Whether a turn is not to be shown as it comes: one that is tried again is told as a late answer, one that was left unanswered
    together with the others."""
    match body:
        case JobMoved(state="retried"):
            return True
        case TurnFinished(record=TurnRecord(state="unanswered")):
            return True
    return False


def _is_unkept(moved: JobMoved) -> bool:
    """Whether the last job of a turn was given up. The user has had the answer; no `turn.finished` will come."""
    return moved.state == "parked" and f"/{REMEMBER}/" in moved.job_id


def wait_line(timings_ms: Mapping[str, float]) -> str:
    """The wait that the speaker felt, and its three parts, which add up to it; empty when the turn had no first word.

    Beside a part stands what of it was done ahead, while silence was waited out.
    """
    if TOTAL_TO_FIRST_TOKEN not in timings_ms:
        return ""
    total = round(timings_ms[TOTAL_TO_FIRST_TOKEN] / 10)
    endpoint = round(timings_ms.get("endpoint_wait", 0.0) / 10)
    transcribe = round(sum(timings_ms.get(part, 0.0) for part in ("submit", "stt_queue", "transcribe")) / 10)
    parts = (
        ("endpoint", endpoint, 0.0),
        ("transcribe", transcribe, timings_ms.get("transcribe_ahead", 0.0)),
        ("answer", max(0, total - endpoint - transcribe), timings_ms.get("first_token_ahead", 0.0)),
    )
    shown = " · ".join(f"{name} {hundredths / 100:.2f}{_ahead(ahead_ms)}" for name, hundredths, ahead_ms in parts)
    return f"{total / 100:.2f} s from end of speech to first word ({shown})"


def _ahead(ahead_ms: float) -> str:
    return f", {ahead_ms / 1000:.2f} ahead" if ahead_ms else ""


def _clean(text: str) -> str:
    """Text from outside for the terminal: no control characters, and further lines indented under the first."""
    printable = "".join(char for char in text if char == "\n" or unicodedata.category(char) != "Cc")
    return printable.replace("\n", "\n" + INDENT)
