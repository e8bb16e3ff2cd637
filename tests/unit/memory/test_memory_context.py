"""Which rounds the model is told again: enough of them, not too many, and seldom a new beginning."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from actors.memory.context import PastRound, trim, window_start
from bus.messages.turn import Round

ROUNDS = st.integers(1, 12)
BLOCK = st.integers(1, 12)
SIZES = st.lists(st.integers(2, 400), min_size=1, max_size=60)
UNLIMITED = 1_000_000


def conversation(sizes: list[int], rounds: int, block: int, max_tokens: int) -> Iterator[tuple[int, list[PastRound], list[PastRound]]]:
    """A conversation as it goes on: for each new round its number, the window, and what is told of it."""
    past = [PastRound(number, tokens, Round(user="", assistant="")) for number, tokens in enumerate(sizes)]
    for number in range(len(sizes) + 1):
        window = past[window_start(number, rounds, block) : number]
        yield number, window, list(trim(window, max_tokens, block))


def test_the_first_question_has_no_context() -> None:
    assert window_start(0, 5, 5) == 0


def test_rounds_are_dropped_a_block_at_a_time_and_five_are_always_kept() -> None:
    assert [window_start(number, 5, 5) for number in range(17)] == [0] * 10 + [5] * 5 + [10] * 2


def test_without_rounds_there_is_no_context() -> None:
    assert all(window == [] for _, window, _ in conversation([10] * 20, 0, 5, UNLIMITED))


def test_what_does_not_fit_the_budget_goes_by_blocks() -> None:
    kept = [[past.number for past in told] for _, _, told in conversation([10] * 8, 8, 4, 65)]
    assert kept[6] == [0, 1, 2, 3, 4, 5]
    assert kept[7] == [2, 3, 4, 5, 6]  # a whole block would leave less than half of the budget in use, half a block does not
    assert kept[8] == [4, 5, 6, 7]


def test_a_round_larger_than_the_budget_is_not_given() -> None:
    assert list(trim([PastRound(0, 500, Round(user="", assistant=""))], 100, 5)) == []


def test_a_budget_of_nothing_gives_nothing() -> None:
    assert list(trim([PastRound(0, 8, Round(user="", assistant=""))], 0, 5)) == []


def test_a_forgotten_round_leaves_the_blocks_where_they_were() -> None:
    window = [PastRound(number, 10, Round(user="", assistant="")) for number in (0, 1, 3, 5, 6, 7)]
    assert [past.number for past in trim(window, 45, 4)] == [5, 6, 7]


@given(SIZES, ROUNDS, BLOCK)
def test_at_least_the_wanted_rounds_are_given_while_the_budget_allows(sizes: list[int], rounds: int, block: int) -> None:
    for number, _, told in conversation(sizes, rounds, block, UNLIMITED):
        assert min(number, rounds) <= len(told) < rounds + block


@given(SIZES, ROUNDS, BLOCK)
def test_the_oldest_round_changes_only_once_a_block(sizes: list[int], rounds: int, block: int) -> None:
    oldest = [told[0].number for _, _, told in conversation(sizes, rounds, block, UNLIMITED) if told]
    changes = [turn for turn in range(1, len(oldest)) if oldest[turn] != oldest[turn - 1]]
    assert all(later - earlier == block for earlier, later in pairwise(changes))


@given(SIZES, ROUNDS, BLOCK, st.integers(0, 3))
def test_under_a_budget_of_two_blocks_the_oldest_round_still_begins_a_block(sizes: list[int], rounds: int, block: int, more: int) -> None:
    max_tokens = (2 + more) * block * max(sizes)
    for _, _, told in conversation(sizes, rounds, block, max_tokens):
        assert not told or told[0].number % block == 0


@given(st.integers(2, 400), st.integers(1, 60), ROUNDS, BLOCK, st.integers(2, 5))
def test_under_a_budget_of_two_blocks_the_oldest_round_changes_only_once_a_block(
    size: int, turns: int, rounds: int, block: int, blocks: int
) -> None:
    max_tokens = blocks * block * size
    oldest = [told[0].number for _, _, told in conversation([size] * turns, rounds, block, max_tokens) if told]
    changes = [turn for turn in range(1, len(oldest)) if oldest[turn] != oldest[turn - 1]]
    assert all(later - earlier >= block for earlier, later in pairwise(changes))


@given(SIZES, ROUNDS, BLOCK, st.integers(0, 3000))
def test_what_is_given_is_the_end_of_the_window_and_fits_the_budget(sizes: list[int], rounds: int, block: int, max_tokens: int) -> None:
    for _, window, told in conversation(sizes, rounds, block, max_tokens):
        assert told == window[len(window) - len(told) :]
        assert sum(past.tokens for past in told) <= max_tokens


@given(SIZES, ROUNDS, BLOCK, st.integers(0, 3000))
def test_half_of_the_budget_is_in_use_unless_the_next_round_would_not_fit(
    sizes: list[int], rounds: int, block: int, max_tokens: int
) -> None:
    for _, window, told in conversation(sizes, rounds, block, max_tokens):
        left_out = window[: len(window) - len(told)]
        used = sum(past.tokens for past in told)
        assert not left_out or 2 * used >= max_tokens or used + left_out[-1].tokens > max_tokens


@given(SIZES, ROUNDS, BLOCK, st.integers(0, 3000))
def test_a_round_that_was_dropped_does_not_come_back(sizes: list[int], rounds: int, block: int, max_tokens: int) -> None:
    oldest = [told[0].number if told else number for number, _, told in conversation(sizes, rounds, block, max_tokens)]
    assert oldest == sorted(oldest)
