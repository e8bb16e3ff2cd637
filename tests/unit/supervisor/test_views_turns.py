"""What `supervisor turns` prints."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console
from rich.text import Text

from bus.messages.turn import TurnRecord
from supervisor.anatomy import anatomy
from supervisor.views import turns as view
from tests.unit.supervisor.turns import DONE_AHEAD_MS, PARTS_MS, attempt, record

SLOW = {**PARTS_MS, "transcribe": 1185.0}
"""Twice as long as the others."""


def plain(lines: list[Text]) -> list[str]:
    return [line.plain.rstrip() for line in lines]


def test_each_turn_is_a_line_with_its_times_and_a_bar_that_is_as_long_as_the_turn() -> None:
    lines = plain(view.table([anatomy(record()), anatomy(record(turn="hear-12ab34cd-960", parts=SLOW))], 80, words=False))
    assert lines[0].startswith("  # Turn              1st word   In all  0")
    assert lines[0].endswith("1.97 s")
    assert lines[1].startswith("  1 hear-12ab34cd-480     0.85     0.98  ")
    assert lines[2].startswith("  2 hear-12ab34cd-960     1.83     1.97  ")
    bars = [line.rpartition(" ")[2] for line in lines[1:3]]
    assert all(re.fullmatch("e+t+c*w*r+", bar) for bar in bars)
    assert len(bars[0]) == pytest.approx(len(bars[1]) / 2, abs=1)
    assert max(len(line) for line in lines[:-1]) == 80


def test_a_wide_terminal_shows_the_groups_in_columns_and_they_add_up() -> None:
    (_, line, *_) = plain(view.table([anatomy(record())], 140, words=False))
    assert line[23:95].split() == ["0.60", "0.20", "0.01", "0.04", "0.14", "0.85", "0.98", "0.00"]


def test_work_done_ahead_has_a_column_and_in_the_waterfall_a_line_under_its_part() -> None:
    found = anatomy(record(parts=DONE_AHEAD_MS))
    header, line, *_ = plain(view.table([found], 140, words=False))
    assert header[23:95].split()[-1] == "Ahead"
    assert line[23:95].split()[1] == "0.00", "transcribed in the silence"
    assert line[23:95].split()[-3:] == ["0.30", "0.40", "0.21"]
    lines = plain(view.waterfall(found, 100, words=False))
    (number,) = (number for number, row in enumerate(lines) if row.startswith("● transcribe"))
    assert re.split(r" {2,}", lines[number])[1:4] == ["whisper", "301.0", "0.0"]
    row = re.split(r" {2,}", lines[number + 1])
    assert row[:4] == ["○ └ ahead", "whisper", "50.0", "160.0"]
    assert set(row[4]) == {view.AHEAD_FILL}
    assert sum("done ahead" in row for row in lines) == 1


def test_many_turns_end_with_their_sum_and_what_is_usual() -> None:
    turns = [anatomy(record()) for _ in range(9)] + [anatomy(record(parts=SLOW))]
    lines = plain(view.table(turns, 80, words=False))
    assert [line.split() for line in lines[-4:-1]] == [
        ["sum", "10", "turns", "9.48", "10.84"],
        ["p50", "of", "each", "column", "0.85", "0.98"],
        ["p90", "of", "each", "column", "0.85", "0.98"],
    ]
    assert lines[-1] == "Seconds from the end of speech:  e silence  t transcription  c context  w first word  r rest"


def test_a_turn_of_which_no_times_are_known_has_none() -> None:
    unknown = anatomy(record(parts={}))
    lines = plain(view.table([unknown, unknown], 80, words=False))
    assert lines[1] == "  1 hear-12ab34cd-480        –        –"
    assert plain(view.waterfall(unknown, 80, words=False))[-1] == "no times were kept for this turn"


def test_without_turns_the_table_says_so() -> None:
    assert plain(view.table([], 80, words=False)) == ["No turns."]


def test_words_are_shown_only_when_asked_for_and_are_no_markup_and_no_commands_to_the_terminal() -> None:
    found = anatomy(record(transcript="[bold]What\x1b[2J\ntime?", reply="Noon."))
    for lines in (view.table([found], 80, words=False), view.waterfall(found, 80, words=False)):
        assert "time" not in "".join(plain(lines)).replace("no times", "")
    assert "1 [bold]What[2J time?  " in plain(view.table([found], 80, words=True))[1]
    assert plain(view.waterfall(found, 80, words=True))[1:3] == ["User: [bold]What[2J time?", "AI  : Noon."]


def test_a_waterfall_has_a_line_for_each_part_and_marks_the_first_word_and_what_it_waited_for() -> None:
    lost = attempt("transcribe", "whisper-1", 601, 603.5, "its worker died")
    done = attempt("transcribe", "whisper-2", 604, 806, number=2)
    lines = plain(view.waterfall(anatomy(record(attempts=[lost, done])), 100, words=False))
    rows = [re.split(r" {2,}", line) for line in lines[3:19]]
    assert [row[0] for row in rows] == [
        "● endpoint wait",
        "● hand over",
        "● wait for Whisper",
        "● └ lost, attempt 1",
        "● transcribe",
        "● wait for turn logic",
        "● turn logic",
        "● wait for memory",
        "● find the context",
        "● wait for the model",
        "● first token",
        "",
        "○ first clause",
        "○ rest of the reply",
        "○ way to memory",
        "",
    ]
    assert rows[3][1:] == ["whisper-1", "601.0", "2.5", "× its worker died"]
    assert rows[4][1:4] == ["whisper-2", "605.0", "200.0"]
    assert rows[11][1:3] == ["─ first word", "850.0"]
    assert rows[15][1:] == ["in all", "985.0"]
    assert max(map(len, lines)) <= 100


def test_followed_turns_come_as_they_are_over_and_one_that_is_longer_than_the_scale_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    batches: list[list[TurnRecord]] = [[record(), record()], [record(parts=SLOW)], [record()]]
    view.show_following(iter(batches), words=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:3].strip() for line in lines[2:]] == ["1", "2", "3", "4"]
    assert lines[4].endswith("›")
    assert not lines[5].endswith("›")


def test_a_line_is_not_cut_where_the_terminal_is_too_narrow() -> None:
    console = Console(width=30, file=io.StringIO())
    view._print(console, [view.Overview([], 30, words=False).row("1", anatomy(record()))])
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().endswith("  eeeeeeetttrr\n")


def test_json_is_one_line_for_each_turn() -> None:
    line = view.json_line(anatomy(record()), words=True)
    assert "\n" not in line
    assert json.loads(line)["transcript"] == "What time is it?"
