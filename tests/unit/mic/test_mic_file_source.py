"""Sound files of all kinds, sound and unsound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from actors.mic.file import FileSource
from actors.mic.sources import Frame, SourceError
from bus.limits import FRAME_BYTES, FRAME_SAMPLES, SAMPLE_RATE_HZ
from tests.fakes.audio_speech import JFK

Samples = npt.NDArray[np.int16]


def sine(seconds: float, rate_hz: int = SAMPLE_RATE_HZ, tone_hz: float = 440.0) -> Samples:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    sound: Samples = np.rint(10_000 * np.sin(2 * np.pi * tone_hz * time_s)).astype(np.int16)
    return sound


def hear(path: Path, start_sample: int = 0, at_once: int = 7) -> tuple[list[Frame], list[str]]:
    source = FileSource(path, start_sample)
    source.open()
    frames: list[Frame] = []
    while not source.ended:
        got = source.read(at_once)
        assert len(got) <= at_once
        frames += got
    source.close()
    return frames, source.take_notes()


def samples_of(frames: list[Frame]) -> Samples:
    return np.frombuffer(b"".join(frame.pcm for frame in frames), "<i2")


@pytest.mark.parametrize("name", ["speech.wav", "speech.flac"])
def test_sixteen_kilohertz_mono_comes_out_bit_for_bit_with_silence_to_the_end_of_the_last_frame(tmp_path: Path, name: str) -> None:
    sound = np.random.default_rng(0).integers(-32768, 32768, 10_000, dtype=np.int16)
    soundfile.write(tmp_path / name, sound, SAMPLE_RATE_HZ)
    frames, notes = hear(tmp_path / name)
    assert [frame.first_sample for frame in frames] == [n * FRAME_SAMPLES for n in range(21)]
    assert all(len(frame.pcm) == FRAME_BYTES for frame in frames)
    assert (samples_of(frames)[:10_000] == sound).all()
    assert not samples_of(frames)[10_000:].any()
    assert notes == []


@pytest.mark.parametrize(("rate_hz", "channels"), [(44_100, 2), (48_000, 1), (8_000, 1), (22_050, 6), (96_000, 2)])
def test_other_rates_and_channels_are_converted(tmp_path: Path, rate_hz: int, channels: int) -> None:
    sound = np.repeat(sine(1.5, rate_hz)[:, None], channels, axis=1)
    soundfile.write(tmp_path / "sound.wav", sound, rate_hz)
    heard = samples_of(hear(tmp_path / "sound.wav")[0]).astype(float)
    assert len(heard) == 1.5 * SAMPLE_RATE_HZ
    middle = slice(1_000, -1_000)
    assert np.abs(heard[middle] - sine(1.5)[middle]).max() < 30  # of 10,000: no click, no shift, no wrong pitch


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_sample_format_has_the_right_loudness(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "sound.wav", sine(0.6) / 32768, SAMPLE_RATE_HZ, subtype=subtype)
    heard = samples_of(hear(tmp_path / "sound.wav")[0])[: len(sine(0.6))].astype(float)
    assert np.abs(heard - sine(0.6)).max() < 600


def test_samples_beyond_full_scale_are_clipped_and_what_is_no_number_is_silence(tmp_path: Path) -> None:
    sound = np.array([2.0, -2.0, np.nan, np.inf, 0.5], np.float32)
    soundfile.write(tmp_path / "sound.wav", sound, SAMPLE_RATE_HZ, subtype="FLOAT")
    assert list(samples_of(hear(tmp_path / "sound.wav")[0])[:5]) == [32767, -32768, 0, 32767, 16384]


def test_two_channels_are_mixed_in_equal_parts(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "sound.wav", np.array([[1000, 3000], [-200, 200]], np.int16), SAMPLE_RATE_HZ)
    assert list(samples_of(hear(tmp_path / "sound.wav")[0])[:2]) == [2000, 0]


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_a_source_that_starts_in_the_middle_gives_the_same_frames_from_there_on(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "sound.wav", sine(1.0, rate_hz), rate_hz)
    whole, _ = hear(tmp_path / "sound.wav")
    rest, _ = hear(tmp_path / "sound.wav", start_sample=12 * FRAME_SAMPLES)
    assert rest == whole[12:]


def test_a_start_after_the_end_gives_nothing_and_ends(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "sound.wav", sine(0.3), SAMPLE_RATE_HZ)
    assert hear(tmp_path / "sound.wav", start_sample=100 * FRAME_SAMPLES) == ([], [])


def test_a_truncated_wav_gives_what_there_is_and_says_so(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "whole.wav", sine(2.0), SAMPLE_RATE_HZ)
    cut = tmp_path / "cut.wav"
    cut.write_bytes((tmp_path / "whole.wav").read_bytes()[: 44 + 2 * 20_000])
    frames, (note,) = hear(cut)
    assert (samples_of(frames)[:20_000] == sine(2.0)[:20_000]).all()
    assert "truncated" in note
    assert "1.25 s of 2.00 s" in note


@pytest.mark.parametrize("damage", ["truncated", "overwritten in the middle"])
def test_a_damaged_flac_gives_what_comes_before_the_damage_and_says_so(tmp_path: Path, damage: str) -> None:
    data = bytearray(JFK.read_bytes())
    if damage == "truncated":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2 : len(data) // 2 + 4_000] = bytes(4_000)
    (tmp_path / "bad.flac").write_bytes(data)
    frames, (note,) = hear(tmp_path / "bad.flac")
    whole, _ = hear(JFK)
    assert len(frames) > len(whole) // 3
    assert frames[:-2] == whole[: len(frames) - 2]  # the last ones end in silence instead of in sound
    assert "truncated or damaged" in note
    assert "of 11.00 s" in note


def test_a_wav_of_unknown_length_is_not_called_truncated(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "piped.wav", sine(1.0), SAMPLE_RATE_HZ)
    data = bytearray((tmp_path / "piped.wav").read_bytes())
    data[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "piped.wav").write_bytes(data)
    frames, notes = hear(tmp_path / "piped.wav")
    assert len(frames) == 34
    assert notes == []


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        FileSource(path).open()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.wav").startswith(f"cannot read {tmp_path}/none.wav: No such file")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert "Is a directory" in refusal(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    assert "is empty (0 bytes)" in refusal(tmp_path / "empty.wav")


def test_a_file_with_a_header_and_no_sound_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "header.wav", sine(0.0), SAMPLE_RATE_HZ)
    assert "there is no sound in it" in refusal(tmp_path / "header.wav")


@pytest.mark.parametrize("data", [b"Dear diary, today I was silent.\n" * 100, b"RIFF\x24\0\0\0WAVEfm", bytes(5_000)])
def test_what_is_not_a_sound_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "letter.wav").write_bytes(data)
    assert "is not a sound file" in refusal(tmp_path / "letter.wav")


def test_a_long_file_is_not_kept_in_memory(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", sine(60.0), SAMPLE_RATE_HZ)
    source = FileSource(tmp_path / "long.wav")
    source.open()
    source.read(1)
    assert source._heard < SAMPLE_RATE_HZ  # less than a second was read for the first frame
    source.close()
