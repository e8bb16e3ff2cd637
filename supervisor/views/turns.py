"""`supervisor turns`: where the time of each turn went, a line for each turn or all of one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

import zmq
from rich.console import Console
from rich.text import Text

from bus.addresses import Addresses
from bus.codec import Stamp
from bus.errors import EarshotError
from bus.events import Publisher, Subscriber, wait_until_heard
from bus.messages.base import Message
from bus.messages.turn import TurnFinished, TurnRecord
from supervisor.anatomy import (
    ENDPOINT,
    FIRST_WORD,
    GROUPS,
    HEARING,
    QUEUE,
    REST,
    SILENCE,
    THINKING,
    WORK,
    Ahead,
    Anatomy,
    Part,
    Trial,
    anatomy,
    lost_within,
    percentile,
    to_json,
)
from supervisor.instance import is_running, require_running
from supervisor.remembered import last_remembered, remembered

LETTERS: Final = {ENDPOINT: "e", HEARING: "t", THINKING: "c", FIRST_WORD: "w", REST: "r"}
"""How the groups stand in a bar, which so can be read without colour."""
STYLES: Final = {
    ENDPOINT: "white on bright_black",
    HEARING: "black on cyan",
    THINKING: "black on yellow",
    FIRST_WORD: "black on green",
    REST: "white on blue",
}
HEADINGS: Final = {ENDPOINT: "Silence", HEARING: "Transcr.", THINKING: "Turn", FIRST_WORD: "Answer", REST: "Rest"}
FILLS: Final = {WORK: "█", QUEUE: "▒", SILENCE: "░"}
AHEAD_FILL: Final = "▄"
AHEAD_HEADING: Final = "Ahead"
LOST_FILL: Final = "×"
LAST: Final = "last"
PERCENTILES: Final = (50, 90)
MIN_BAR: Final = 24
NUMBER_WIDTH: Final = 9
NAME_WIDTH: Final = 24
EMPTY_SCALE_MS: Final = 2000.0
"""The scale of the bars while no turn is known."""
CONNECT_TIMEOUT_S: Final = 5.0
LOOK_INTERVAL_S: Final = 1.0


def show_after(addresses: Addresses, number: int) -> None:
    """Print the turns that were remembered after the one of that number (`remembered.newest_number`), with what was asked: it
    stands above on the same terminal."""
    show(taken_apart(remembered(addresses, after=number)), words=True)


def past(addresses: Addresses, last: int, stream: str, turn: str) -> list[Anatomy]:
    """The last turns, oldest first, of one stream or (empty) of all; or one turn, by its name or `last`.

    Raises EarshotError when the memory store cannot be read, or has no such turn.
    """
    wanted, name = (1, "") if turn == LAST else (last, turn)
    records = last_remembered(addresses, wanted, stream, name) if wanted else []
    if turn and not records:
        raise EarshotError(f"no turn {turn!r} is remembered{f' of the stream {stream!r}' if stream else ''}; `supervisor turns` lists them")
    return taken_apart(records)


def taken_apart(records: Iterable[TurnRecord]) -> list[Anatomy]:
    """The anatomy of each."""
    return [anatomy(record) for record in records]


def show(turns: Sequence[Anatomy], *, words: bool) -> None:
    """Print a line for each turn, and what is usual among them."""
    console = Console(highlight=False)
    _print(console, table(turns, console.width, words=words))


def show_one(found: Anatomy, *, words: bool) -> None:
    """Print all of one turn."""
    console = Console(highlight=False)
    _print(console, waterfall(found, console.width, words=words))


def show_following(batches: Iterable[list[TurnRecord]], *, words: bool) -> None:
    """Print a line for each turn as it comes. The first batch, which is of the past, sets the scale."""
    console, overview, number = Console(highlight=False), None, 0
    for batch in batches:
        turns = taken_apart(batch)
        if overview is None:
            overview = Overview(turns, console.width, words=words)
            _print(console, [overview.legend(), overview.header()])
        for number, found in enumerate(turns, number + 1):  # noqa: B020 - counts on from batch to batch
            _print(console, [overview.row(str(number), found)])


def json_line(found: Anatomy, *, words: bool) -> str:
    """One turn as one line of JSON."""
    return json.dumps(to_json(found, words=words), ensure_ascii=False)


def follow(addresses: Addresses, last: int, stream: str) -> Iterator[list[TurnRecord]]:
    """Yield the last turns, then others as they are over, of one stream or (empty) of all, until the assistant ends.

    Raises NoInstance when none is running at the start, EarshotError when the memory store cannot be read.
    """
    require_running(addresses)
    with zmq.Context() as context:
        publisher = Publisher(context, addresses.events_in, Stamp("turns", str(os.getpid())))
        subscriber = Subscriber(context, addresses.events_out, (TurnFinished.topic,))
        try:
            early = wait_until_heard(publisher, subscriber, CONNECT_TIMEOUT_S)
            known = last_remembered(addresses, last, stream) if last else []  # after the subscription, so that none falls between the two
            seen = {record.turn for record in known}
            yield known
            messages: Iterable[Message] = early
            while True:
                fresh = [record for record in _records(messages) if record.turn not in seen and stream in ("", record.stream)]
                seen.update(record.turn for record in fresh)
                if fresh:
                    yield fresh
                if not subscriber.socket.poll(round(LOOK_INTERVAL_S * 1000)) and not is_running(addresses):
                    return
                messages = subscriber.receive()
        finally:
            publisher.close()
            subscriber.close()


def _records(messages: Iterable[Message]) -> Iterator[TurnRecord]:
    for message in messages:
        if isinstance(message.body, TurnFinished):
            yield message.body.record


# -- a line for each turn -----------------------------------------------------------------------------------------


def table(turns: Sequence[Anatomy], width: int, *, words: bool) -> list[Text]:
    """The lines about many turns."""
    if not turns:
        return [Text("No turns.")]
    overview = Overview(turns, width, words=words)
    lines = [overview.header(), *(overview.row(str(number), found) for number, found in enumerate(turns, 1))]
    if len(turns) > 1:
        lines += [Text(), *overview.summary(turns)]
    return [*lines, overview.legend()]


class Overview:
    """Lines of the same columns: number, name, times in seconds, and a bar. In a narrow terminal the bar goes before the times."""

    def __init__(self, turns: Sequence[Anatomy], width: int, *, words: bool) -> None:
        self._words = words
        self._name_width = min(NAME_WIDTH, max([NAME_WIDTH // 2, *(len(self._name(found)) for found in turns)]))
        fixed = 4 + self._name_width + 2 * NUMBER_WIDTH + 2
        wide = fixed + (len(GROUPS) + 1) * NUMBER_WIDTH
        self._groups = tuple(GROUPS) if width >= wide + MIN_BAR else ()
        self._bar_width = max(MIN_BAR, width - (wide if self._groups else fixed))
        self._scale_ms = max((found.total_ms for found in turns), default=0.0) or EMPTY_SCALE_MS

    def header(self) -> Text:
        """The names of the columns, and what the width of the bars stands for."""
        names = [*(HEADINGS[group] for group in self._groups), "1st word", "In all", *([AHEAD_HEADING] if self._groups else [])]
        scale = f"{_seconds(self._scale_ms)} s"
        bar = f"0{scale:─>{self._bar_width - 1}}"
        return Text(self._line("#", "User" if self._words else "Turn", names) + bar, style="bold")

    def row(self, number: str, found: Anatomy) -> Text:
        """One turn."""
        times = [found.group_ms(group) if found.parts else None for group in self._groups]
        ends = [found.first_word_ms, found.total_ms if found.parts else None]
        ahead = self._ahead(found.ahead_ms if found.parts else None)
        line = Text(self._line(number, self._name(found), map(_seconds, [*times, *ends, *ahead])))
        return line.append_text(self._bar({group: found.group_ms(group) for group in GROUPS}))

    def summary(self, turns: Sequence[Anatomy]) -> list[Text]:
        """What the turns took together, and what half of them and most of them did not exceed."""
        known = [found for found in turns if found.parts]
        waits = [found.first_word_ms for found in known if found.first_word_ms is not None]
        if not known:
            return []
        totals = [sum(found.group_ms(group) for found in known) for group in self._groups]
        ends = [sum(waits), sum(found.total_ms for found in known), *self._ahead(sum(found.ahead_ms for found in known))]
        lines = [Text(self._line("sum", f"{len(turns)} turns", map(_seconds, [*totals, *ends])))]
        for percent in PERCENTILES:  # without a bar: percentiles do not add up
            usual = [percentile([found.group_ms(group) for found in known], percent) for group in self._groups]
            ends_ms = [percentile(waits, percent) if waits else None, percentile([found.total_ms for found in known], percent)]
            ahead = self._ahead(percentile([found.ahead_ms for found in known], percent))
            lines.append(Text(self._line(f"p{percent}", "of each column", map(_seconds, [*usual, *ends_ms, *ahead]))))
        return lines

    def legend(self) -> Text:
        """What the letters in the bars mean."""
        line = Text("Seconds from the end of speech:")
        for group, name in GROUPS.items():
            line.append("  ").append(LETTERS[group], STYLES[group]).append(f" {name}")
        return line.append("  Ahead: work done in the silence, no part of the wait" if self._groups else "")

    def _ahead(self, ahead_ms: float | None) -> list[float | None]:
        """The last column, where there is room for it."""
        return [ahead_ms] if self._groups else []

    def _name(self, found: Anatomy) -> str:
        return _one_line(found.record.transcript) or "–" if self._words else found.record.turn

    def _line(self, number: str, name: str, cells: Iterable[str]) -> str:
        numbers = "".join(f"{cell:>{NUMBER_WIDTH}}" for cell in cells)
        return f"{number:>3} {_short(name, self._name_width):<{self._name_width}}{numbers}  "

    def _bar(self, group_ms: dict[str, float]) -> Text:
        bar, reached_ms, drawn = Text(), 0.0, 0
        for group, duration_ms in group_ms.items():
            reached_ms += duration_ms
            until = min(self._bar_width, round(reached_ms / self._scale_ms * self._bar_width))
            bar.append(LETTERS[group] * (until - drawn), STYLES[group])
            drawn = max(drawn, until)
        return bar.append("›" if reached_ms > self._scale_ms * 1.001 else "")


# -- all of one turn ----------------------------------------------------------------------------------------------


def waterfall(found: Anatomy, width: int, *, words: bool) -> list[Text]:
    """The lines about one turn: each part with its place in time, the first word, what was tried in vain."""
    lines = [Text(_headline(found), style="bold")]
    if words:
        lines += [Text(f"User: {_one_line(found.record.transcript) or '–'}"), Text(f"AI  : {_one_line(found.record.reply) or '–'}")]
    if not found.parts:
        return [*lines, Text("no times were kept for this turn")]
    chart = _Chart(found, width)
    lines += [Text(), chart.header()]
    lost, has_spoken = lost_within(found), False
    for part in found.parts:
        if not part.critical and not has_spoken:
            has_spoken = True
            lines.append(chart.first_word())
        lines.append(chart.part(part))
        if part.ahead is not None:
            lines.append(chart.ahead(part, part.ahead))
        lines += [chart.lost(trial) for trial in lost.get(part.name, ())]
    lines += [chart.total(), Text()]
    if found.ahead_ms:
        lines.append(Text(f"{AHEAD_FILL} done ahead, before the end of speech was decided: no part of the wait"))
    lines.append(Text("● on the critical path: the first word waited for it   ○ beside it or after it"))
    lines.append(
        Text(
            f"{FILLS[WORK]} work  {FILLS[QUEUE]} on the way or waiting for a worker  {FILLS[SILENCE]} silence waited out  {LOST_FILL} lost"
        )
    )
    return lines


def _headline(found: Anatomy) -> str:
    record = found.record
    when = datetime.fromtimestamp(record.wall_ns / 1e9).strftime("%Y-%m-%d %H:%M:%S")
    detail = f" ({record.detail})" if record.detail else ""
    first = "" if found.first_word_ms is None else f", first word after {_seconds(found.first_word_ms)} s"
    return f"{record.turn}  {record.state}{detail}  {when}{first}, over after {_seconds(found.total_ms)} s"


class _Chart:
    """The rows of one turn's waterfall."""

    def __init__(self, found: Anatomy, width: int) -> None:
        self._found = found
        self._end_ms = max([found.total_ms, *(trial.attempt.end_ms for trial in found.trials), 0.001])
        self._label_width = max(len(part.label) for part in found.parts)
        self._actor_width = max(
            len("actor"), *(len(part.actor) for part in found.parts), *(len(one.attempt.worker) for one in found.trials)
        )
        self._bar_width = max(MIN_BAR, width - len(self._line("", "", "", "", "")))

    def header(self) -> Text:
        return Text(self._line("", "part", "actor", "begin ms", "ms"), style="bold")

    def part(self, part: Part) -> Text:
        row = Text(self._line(_dot(part.critical), part.label, part.actor, f"{part.begin_ms:.1f}", f"{part.duration_ms:.1f}"))
        return row.append(*self._bar(part.begin_ms, part.end_ms, FILLS[part.kind], _colour(part)))

    def ahead(self, part: Part, done: Ahead) -> Text:
        row = Text(self._line(_dot(False), "└ ahead", part.actor, f"{done.begin_ms:.1f}", f"{done.duration_ms:.1f}"))
        return row.append(*self._bar(done.begin_ms, done.end_ms, AHEAD_FILL, _colour(part)))

    def lost(self, trial: Trial) -> Text:
        one = trial.attempt
        label = f"└ lost, attempt {one.number}"
        row = Text(self._line(_dot(trial.critical), label, one.worker, f"{one.begin_ms:.1f}", f"{one.end_ms - one.begin_ms:.1f}"))
        return row.append(*self._bar(one.begin_ms, one.end_ms, LOST_FILL, "red")).append(f" {_one_line(one.lost)}", "red")

    def first_word(self) -> Text:
        first_word_ms = self._found.first_word_ms or 0.0
        row = Text(self._line("", "─ first word", "", f"{first_word_ms:.1f}", ""), style="bold")
        return row.append(" " * self._column(first_word_ms) + "▲")

    def total(self) -> Text:
        return Text(self._line("", "in all", "", "", f"{sum(part.duration_ms for part in self._found.parts):.1f}"), style="bold")

    def _line(self, dot: str, label: str, actor: str, begin: str, duration: str) -> str:
        return f"{dot:1} {label:<{self._label_width}}  {actor:<{self._actor_width}} {begin:>{NUMBER_WIDTH}} {duration:>{NUMBER_WIDTH}}  "

    def _bar(self, begin_ms: float, end_ms: float, fill: str, colour: str) -> tuple[str, str]:
        begin = min(self._column(begin_ms), self._bar_width - 1)
        return " " * begin + fill * max(1, self._column(end_ms) - begin), colour

    def _column(self, at_ms: float) -> int:
        return round(at_ms / self._end_ms * self._bar_width)


def _colour(part: Part) -> str:
    return STYLES[part.group].rpartition(" ")[2]


def _dot(critical: bool) -> str:
    return "●" if critical else "○"


def _print(console: Console, lines: Iterable[Text]) -> None:
    for line in lines:
        line.rstrip()
        console.print(line, soft_wrap=True)  # what is too long for the terminal goes on in the next line and is not cut


def _one_line(text: str) -> str:
    """Text from outside for the terminal: one line, no control characters."""
    return "".join(char for char in " ".join(text.split()) if char.isprintable())


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _seconds(milliseconds: float | None) -> str:
    return "–" if milliseconds is None else f"{milliseconds / 1000:.2f}"
