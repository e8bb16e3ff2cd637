"""How long a decoding may take before the worker counts as hung."""

from hypothesis import given
from hypothesis import strategies as st

from actors.whisper.actor import TRANSCRIBING_FLOOR_S, longest_s

SECONDS = st.floats(0, 60)


def test_a_small_model_on_a_quick_machine_is_given_up_soon() -> None:
    assert longest_s(audio_s=2.0, trial_s=0.15) == 14.0


def test_a_large_model_on_a_slow_board_is_not_given_up_while_it_works() -> None:
    worst_tokens, tokens_an_encoding, encoding_s = 4 * 224, 240, 28.0
    short_window = 2 / 3  # a first try that was in vain
    assert longest_s(audio_s=18.0, trial_s=encoding_s) > 3 * encoding_s * (short_window + 1 + worst_tokens / tokens_an_encoding)


@given(SECONDS, SECONDS, SECONDS)
def test_more_sound_and_a_slower_machine_never_get_less_time(audio_s: float, trial_s: float, more_s: float) -> None:
    assert longest_s(audio_s + more_s, trial_s) >= longest_s(audio_s, trial_s) >= TRANSCRIBING_FLOOR_S
    assert longest_s(audio_s, trial_s + more_s) >= longest_s(audio_s, trial_s)
