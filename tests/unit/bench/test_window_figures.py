"""How the window benchmark counts errors, and which clips it takes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bench.encoder import Shape, measure
from bench.sound import SPEECH
from bench.window import Clip, Tallies, Tally, kit, noisy, quiet, results, saved, word_errors, words
from bus.errors import EarshotError
from bus.limits import SAMPLE_RATE_HZ

SENTENCES = st.lists(st.sampled_from(["turn", "on", "the", "light"]), max_size=6)


@pytest.mark.parametrize(
    ("wanted", "heard", "errors"),
    [
        ("turn on the light", "turn on the light", 0),
        ("turn on the light", "turn off the light", 1),
        ("turn on the light", "turn on light", 1),
        ("yes", "yes yes yes", 2),
        ("", "thank you", 2),
        ("stop", "", 1),
    ],
)
def test_each_word_that_is_wrong_missing_or_invented_is_one_error(wanted: str, heard: str, errors: int) -> None:
    assert word_errors(wanted.split(), heard.split()) == errors


@given(SENTENCES, SENTENCES)
def test_errors_count_the_same_both_ways_and_never_more_than_there_are_words(left: list[str], right: list[str]) -> None:
    assert word_errors(left, right) == word_errors(right, left) <= max(len(left), len(right))
    assert (word_errors(left, right) == 0) == (left == right)


def test_capitals_and_punctuation_are_no_errors() -> None:
    assert words(" What's the time, Anna?") == ["what's", "the", "time", "anna"]


def test_the_kit_is_all_its_sample_speech_with_and_without_noise() -> None:
    sets = kit()
    files = {told["file"]: told["text"] for told in json.loads((SPEECH / "transcripts.json").read_text())["files"]}
    plain = [clip.text for clip in sets["sample speech"]]
    assert set(files.values()) < set(plain)
    assert [clip.text for clip in sets["10 dB above noise"]] == [clip.text for clip in sets["20 dB above noise"]] == plain
    assert len(sets["sentences, half with pauses"]) == 48
    assert {clip.text for clip in sets["nobody speaks"]} == {""}
    assert all(len(clip.pcm) > SAMPLE_RATE_HZ for clips in sets.values() for clip in clips)


@pytest.mark.parametrize("snr_db", [20.0, 10.0])
def test_noise_is_as_far_below_the_speech_as_is_told(snr_db: float) -> None:
    speech = (8000 * np.sin(np.arange(16_000) / 7)).astype(np.int16)
    mixed = np.frombuffer(noisy(speech, snr_db, np.random.default_rng(1)), np.int16)
    noise = mixed.astype(float) - speech
    loud = speech[np.abs(speech) > 160].astype(float)
    assert 10 * np.log10((loud**2).mean() / (noise**2).mean()) == pytest.approx(snr_db, abs=0.3)


def test_where_nobody_speaks_there_is_sound_of_any_loudness() -> None:
    loudest = [np.abs(np.frombuffer(clip.pcm, np.int16).astype(int)).max() for clip in quiet(random.Random(1), np.random.default_rng(1))]
    assert min(loudest) < 100
    assert max(loudest) > 10_000


def test_clips_of_your_own_are_read_from_a_folder(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", np.array([1, -2, 3], np.int16), SAMPLE_RATE_HZ)
    (tmp_path / "transcripts.json").write_text(json.dumps({"files": [{"file": "one.wav", "text": "stop"}]}))
    assert saved(tmp_path) == [Clip(np.array([1, -2, 3], np.int16).tobytes(), "stop")]


@pytest.mark.parametrize(
    ("described", "why"),
    [
        (None, "no clips in .*: .*No such file.*transcripts.json"),
        ({"files": [{"file": "one.wav"}]}, "no clips in .*'text'"),
        ({"files": [{"file": "no.wav", "text": ""}]}, "no clips in .*no.wav"),
        ({"files": [{"file": "slow.wav", "text": ""}]}, "must be mono, of 16000 Hz"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(tmp_path: Path, described: object, why: str) -> None:
    soundfile.write(tmp_path / "one.wav", np.zeros(3, np.int16), SAMPLE_RATE_HZ)
    soundfile.write(tmp_path / "slow.wav", np.zeros(3, np.int16), 8000)
    if described:
        (tmp_path / "transcripts.json").write_text(json.dumps(described))
    with pytest.raises(EarshotError, match=why):
        saved(tmp_path)


@pytest.mark.parametrize(("errors", "met"), [((0, 5), True), ((1, 1), False)])
def test_one_error_more_in_one_set_is_not_made_up_for_by_fewer_in_another(errors: tuple[int, int], met: bool) -> None:
    full = Tally([300.0], words=4, errors=0), Tally([300.0], words=9, errors=5)
    tallies: Tallies = {
        name: {"full": tally, "auto": Tally([60.0], words=tally.words, errors=count)}
        for name, tally, count in zip(("plain", "noisy"), full, errors, strict=True)
    }
    found = {result.name: result for result in results(tallies, ", tiny")}
    assert found["errors, auto, tiny"].ok is met
    assert found["errors, auto, tiny"].parts == {"plain, 4 words": errors[0], "noisy, 9 words": errors[1]}
    assert found["decode, auto, tiny"].ratio == pytest.approx(0.2)


def test_a_model_of_random_weights_can_be_measured_in_every_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.encoder.SHAPES", {"dwarf": Shape(width=64, layers=1, heads=1)})
    found = list(measure("dwarf"))
    assert [result.name for result in found if result.ratio == 1.0] == ["encoding, 30 s", "16 tokens, 30 s"]
    assert all(result.value > 0 for result in found)
