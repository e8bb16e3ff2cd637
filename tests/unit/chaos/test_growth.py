"""What a process holds, and when it has grown too much."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.growth import GOAL_PERCENT, Holding, Mark, growth_percent, leaks, look, median, parse_rollup

HOLDING = Holding(rss_kb=100_000, uss_kb=60_000, fds=20, sockets=4, threads=5)
ROLLUP = """\
00400000-7ffd2c3c6000 ---p 00000000 00:00 0                              [rollup]
Rss:               25820 kB
Pss:               14771 kB
Private_Clean:        12 kB
Private_Dirty:     12332 kB
"""


def mark(turns: int, **holdings: Holding) -> Mark:
    return Mark(turns, holdings, {})


def test_the_kernel_s_sizes_are_read_by_name() -> None:
    assert parse_rollup(ROLLUP) == {"Rss": 25_820, "Pss": 14_771, "Private_Clean": 12, "Private_Dirty": 12_332}


def test_a_process_is_looked_at_while_it_lives() -> None:
    before = look(os.getpid())
    with Path(os.devnull).open() as _file:
        after = look(os.getpid())
    assert after.fds == before.fds + 1
    assert before.rss_kb >= before.uss_kb > 1_000
    assert before.threads >= 1


def test_what_a_process_holds_for_a_moment_is_not_counted() -> None:
    assert median([HOLDING, replace(HOLDING, rss_kb=900_000, fds=90), HOLDING]) == HOLDING


@pytest.mark.parametrize(("after_kb", "is_leak"), [(100_000, False), (104_900, False), (105_200, True), (90_000, False)])
def test_memory_may_grow_by_the_goal_and_not_by_more(after_kb: int, is_leak: bool) -> None:
    after = replace(HOLDING, rss_kb=after_kb)
    assert (growth_percent(HOLDING, after) > GOAL_PERCENT) == is_leak
    assert bool(leaks(mark(1000, vad=HOLDING), mark(10_000, vad=after))) == is_leak


@pytest.mark.parametrize("what", ["fds", "sockets", "threads"])
def test_one_more_file_socket_or_thread_is_a_leak(what: str) -> None:
    (line,) = leaks(mark(1000, vad=HOLDING), mark(10_000, vad=replace(HOLDING, **{what: 21})))
    assert line.startswith(f"vad: {what} grew from")


def test_a_process_that_is_gone_is_told() -> None:
    assert leaks(mark(1000, vad=HOLDING), mark(10_000)) == ["vad is gone"]
