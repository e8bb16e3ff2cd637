"""The arithmetic of the benchmarks, and what they read from /proc and from the launcher's log."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from bench.__main__ import meaning, number, parts_tables
from bench.idle import recording_cost
from bench.pool import crews
from bench.result import Result, against, at_most, percentile
from bench.sound import cut, frames, seconds
from bench.stopped import changed, misplaced
from bench.system import cpu_s, parse_journal, ready_after_s, rss_mb
from bench.turns import overhead_ms, sum_error_ms
from bus.limits import FRAME_BYTES, FRAME_SAMPLES
from bus.timings import COMMITTED, FIRST_SHOWN, FIRST_TOKEN, LLM_START, SPEECH_END, STT_END, STT_START, timings_ms
from supervisor.topology import Cpu, Topology

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


def test_this_process_has_used_memory_and_time() -> None:
    before_s = cpu_s(os.getpid())
    end_s = time.process_time() + 0.05
    while time.process_time() < end_s:
        pass
    assert cpu_s(os.getpid()) > before_s
    assert rss_mb(os.getpid()) > 1


def test_the_time_that_another_process_has_used_is_what_it_says_of_itself() -> None:
    program = "import time\nwhile time.process_time() < 0.2: pass\nprint(time.process_time(), flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        used_s = float(other.stdout.readline())
        assert used_s <= cpu_s(other.pid) < used_s + 0.1
        other.kill()
        other.wait()
        with pytest.raises(OSError, match="Invalid argument"):
            cpu_s(other.pid)


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
    assert misplaced(numbers, 4) == wrong


def test_the_overhead_is_the_wait_without_silence_and_models() -> None:
    marks_ms = {SPEECH_END: 0, COMMITTED: 1020, STT_START: 1023, STT_END: 1223, LLM_START: 1225, FIRST_TOKEN: 1270}
    assert overhead_ms(timings_ms({name: at * 1_000_000 for name, at in marks_ms.items()})) == pytest.approx(3 + 2)


def test_of_the_work_of_the_models_only_that_after_the_end_is_decided_is_taken_from_the_wait() -> None:
    early_ms = {SPEECH_END: 0, COMMITTED: 300, STT_START: 90, STT_END: 250, LLM_START: 255, FIRST_TOKEN: 295, FIRST_SHOWN: 304}
    assert overhead_ms(timings_ms({name: at * 1_000_000 for name, at in early_ms.items()})) == pytest.approx(4)
    late_ms = {SPEECH_END: 0, COMMITTED: 300, STT_START: 90, STT_END: 420, LLM_START: 425, FIRST_TOKEN: 465}
    assert overhead_ms(timings_ms({name: at * 1_000_000 for name, at in late_ms.items()})) == pytest.approx(5)


def test_a_figure_is_shown_with_the_digits_that_mean_something() -> None:
    assert [number(value) for value in (0.0, 0.01234, 9.876, 147.49, 10_234.5)] == ["0", "0.0123", "9.88", "147", "10,234"]


def test_parts_of_one_kind_share_a_table_with_a_row_for_each_that_any_figure_has() -> None:
    idle = Result(name="idle", value=0.5, unit="%", meaning="all of it", parts={"vad": 0.3, "llm": 0.2}, parts_of="process")
    start = Result(name="start", value=1, unit="s", meaning="", parts={"llm": 1.0, "mic": 0.5}, parts_of="process")
    wait = Result(name="wait", value=3, unit="ms", meaning="", parts={"queue": 3.0}, parts_of="stage")
    whole = Result(name="memory", value=400, unit="MB", meaning="")
    processes, stages = parts_tables([idle, wait, whole, start])
    assert [column.header for column in processes.columns] == ["Process", "idle, %", "start, s"]
    assert [list(column.cells) for column in processes.columns] == [["vad", "llm", "mic"], ["0.3", "0.2", ""], ["", "1", "0.5"]]
    assert [column.header for column in stages.columns] == ["Stage", "wait, ms"]


def test_a_figure_tells_what_it_means() -> None:
    assert meaning(Result(name="idle", value=0.5, unit="%", meaning="all of it")) == "[bold]idle[/]: all of it."


@pytest.mark.parametrize(("value", "ok"), [(90.0, True), (89.0, False)])
def test_where_more_is_better_a_goal_is_the_lowest_ratio(value: float, ok: bool) -> None:
    found = against(100.0, name="pool", value=value, unit="/s", meaning="", goal_ratio=0.9, more_is_better=True)
    assert (found.ok, found.goal) == (ok, "≥ 0.9×")


def test_a_frame_of_sound_that_is_not_what_was_played_there_is_lost() -> None:
    played = [bytes([number]) * FRAME_BYTES for number in range(6)]
    assert changed([(0, b"".join(played[:2])), (3 * FRAME_SAMPLES, b"".join(played[3:]))], played) == 0
    assert changed([(FRAME_SAMPLES, b"".join(played[:2]))], played) == 2
    assert changed([(0, b"".join(played) + played[0])], played) == 1, "nothing was played after the end"


def test_sound_is_cut_at_its_own_ends_too_and_only_whole_frames_are_played() -> None:
    pcm = bytes(range(256)) * 125  # one second
    assert cut(pcm, -0.3, 2.0) == pcm
    assert cut(pcm, 0.25, 0.5) == pcm[8000:16000]
    assert seconds(pcm) == 1.0
    assert b"".join(frames(pcm)) == pcm[: 33 * FRAME_BYTES]


def test_a_recording_costs_what_its_recorder_takes_and_what_the_source_takes_more_than_before() -> None:
    assert recording_cost({"recorder": 0.1, "mic": 1.0}, {"recorder": 1.2, "mic": 1.25}) == pytest.approx(1.45)
    assert recording_cost({"recorder": 0.1, "mic": 1.0}, {"recorder": 1.2, "mic": 0.9}) == pytest.approx(1.2), "noise is no gain"


@pytest.mark.parametrize(("cores", "sizes"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 4]), (24, [1, 3, 7])])
def test_pools_of_all_sizes_are_laid_out_on_the_same_number_of_cores(cores: int, sizes: list[int]) -> None:
    topology = Topology(cpus=tuple(Cpu(number) for number in range(cores)), allowed=tuple(range(cores)))
    found = crews(topology)
    assert [len(sets) for sets in found] == sizes
    assert len({len({cpu for crew in sets for cpu in crew}) for sets in found}) == 1


def test_parts_that_do_not_add_up_are_told_of() -> None:
    timings = {"endpoint_wait": 1020.0, "transcribe": 200.0, "first_token": 45.0, "generate": 100.0, "total_to_first_token": 1265.0}
    assert sum_error_ms({**timings, "total": 1365.0}) == 0
    assert sum_error_ms({**timings, "total": 1367.5}) == 2.5
    assert sum_error_ms({**timings, "total": 1365.0, "total_to_first_token": 1266.5}) == 1.5
