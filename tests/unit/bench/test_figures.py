"""The arithmetic of the benchmarks, and what they read from /proc and from the launcher's log."""

from __future__ import annotations

import os
import time

import pytest

from bench.__main__ import meaning, number
from bench.audio import wrong_frames
from bench.result import Result, against, at_most, percentile
from bench.system import cpu_s, parse_cpu_ticks, parse_journal, ready_after_s, rss_mb
from bench.turns import overhead_ms
from bus.timings import COMMITTED, FIRST_TOKEN, LLM_START, SPEECH_END, STT_END, STT_START, timings_ms

JOURNAL = """\
2026-01-02T10:00:00.000+00:00 launcher 1a2b begins, process 77
2026-01-02T10:00:00.010+00:00 vad 1a2b.1 starting
2026-01-02T10:00:00.510+00:00 vad 1a2b.1 ready
2026-01-02T10:00:05.000+00:00 vad 1a2b.1 ended: signal SIGKILL
2026-01-02T10:00:05.001+00:00 vad 1a2b.1 backing-off: vad ended with signal SIGKILL; see `supervisor logs vad`
2026-01-02T10:00:05.250+00:00 vad 1a2b.2 ready
"""
BEGIN_NS = 1_767_348_000_000_000_000


def test_the_median_of_an_even_number_of_values_is_the_lower_middle_one() -> None:
    assert percentile([4, 1, 3, 2], 50) == 2


def test_the_99th_percentile_of_few_values_is_the_greatest() -> None:
    assert percentile(range(99), 99) == 98
    assert percentile(range(1, 201), 99) == 198


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


@pytest.mark.parametrize(("value", "ok"), [(3.0, True), (3.01, False)])
def test_a_goal_is_reached_at_its_limit_and_missed_beyond_it(value: float, ok: bool) -> None:
    found = at_most(3.0, name="idle", value=value, unit="%", meaning="")
    assert found.ok is ok
    assert found.goal == "≤ 3 %"


def test_a_ratio_is_judged_only_where_there_is_a_goal() -> None:
    missed = against(100.0, name="hop", value=151.0, unit="µs", meaning="", goal_ratio=1.5)
    assert (missed.ratio, missed.ok, missed.goal) == (1.51, False, "≤ 1.5×")
    assert against(100.0, name="hop", value=151.0, unit="µs", meaning="").ok is None


def test_processor_time_is_found_behind_a_name_with_brackets_and_spaces() -> None:
    assert parse_cpu_ticks("42 (a ) b) S 1 42 42 0 -1 4194560 900 0 0 0 120 7 0 0 20 0 3 0 100 200 300") == 127


def test_this_process_has_used_memory_and_time() -> None:
    before_s = cpu_s(os.getpid())
    end_s = time.process_time() + 0.05
    while time.process_time() < end_s:
        pass
    assert cpu_s(os.getpid()) > before_s
    assert rss_mb(os.getpid()) > 1


def test_the_log_of_the_launcher_tells_who_was_ready_when() -> None:
    assert [state for _, _, state in parse_journal(JOURNAL)] == ["begins", "starting", "ready", "ended", "backing-off", "ready"]
    assert ready_after_s(JOURNAL, BEGIN_NS) == {"vad": pytest.approx(0.51)}


def test_after_a_kill_only_a_later_ready_counts() -> None:
    assert ready_after_s(JOURNAL, BEGIN_NS + 5_000_000_000) == {"vad": pytest.approx(0.25)}
    assert ready_after_s(JOURNAL, BEGIN_NS + 6_000_000_000) == {}


@pytest.mark.parametrize(
    ("numbers", "wrong"), [([0, 1, 2, 3], 0), ([0, 1, 3], 1), ([0, 1, 1, 2, 3], 1), ([0, 2, 1, 3], 1), ([0, 1, 2, -1], 2), ([], 4)]
)
def test_frames_that_are_missing_twice_or_out_of_place_are_wrong(numbers: list[int], wrong: int) -> None:
    assert wrong_frames(numbers, 4) == wrong


def test_the_overhead_is_the_wait_without_silence_and_models() -> None:
    marks_ms = {SPEECH_END: 0, COMMITTED: 1020, STT_START: 1023, STT_END: 1223, LLM_START: 1225, FIRST_TOKEN: 1270}
    assert overhead_ms(timings_ms({name: at * 1_000_000 for name, at in marks_ms.items()})) == pytest.approx(3 + 2)


def test_a_figure_is_shown_with_the_digits_that_mean_something() -> None:
    assert [number(value) for value in (0.0, 0.01234, 9.876, 147.49, 10_234.5)] == ["0", "0.0123", "9.88", "147", "10,234"]


def test_the_parts_of_a_figure_stand_behind_its_meaning() -> None:
    found = Result(name="idle", value=0.5, unit="%", meaning="all of it", parts={"vad": 0.3, "llm": 0.2})
    assert meaning(found) == "[bold]idle[/]: all of it; vad 0.3 · llm 0.2 %."
