"""How much Whisper is given to hear."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.whisper.window import FRAMES_PER_S, FULL_FRAMES, MARGIN_FRAMES, WINDOWS_FRAMES, window_frames


@pytest.mark.parametrize(
    ("sound_s", "window_s"), [(0.0, 10), (3.0, 10), (8.0, 10), (8.01, 15), (12.9, 15), (18.0, 20), (18.5, 30), (30.0, 30)]
)
def test_an_utterance_gets_the_next_window_that_leaves_a_margin(sound_s: float, window_s: int) -> None:
    assert window_frames(sound_s) == window_s * FRAMES_PER_S


@given(st.floats(0, 60))
def test_no_window_but_the_full_one_is_without_its_margin(sound_s: float) -> None:
    frames = window_frames(sound_s)
    assert frames in WINDOWS_FRAMES
    assert frames == FULL_FRAMES or frames >= sound_s * FRAMES_PER_S + MARGIN_FRAMES


def test_every_window_is_a_whole_number_of_encoder_positions() -> None:
    assert all(frames % 2 == 0 for frames in WINDOWS_FRAMES)
