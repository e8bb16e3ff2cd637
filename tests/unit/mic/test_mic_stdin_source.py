"""Raw PCM through a pipe."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from actors.mic.sources import Frame, SourceError
from actors.mic.stdin import StdinSource
from bus.limits import FRAME_BYTES, FRAME_SAMPLES


@pytest.fixture
def pipe() -> Iterator[tuple[StdinSource, int]]:
    reader, writer = os.pipe()
    source = StdinSource(reader)
    source.open()
    yield source, writer
    os.close(reader)


def test_pieces_of_any_size_become_frames(pipe: tuple[StdinSource, int]) -> None:
    source, writer = pipe
    sound = os.urandom(3 * FRAME_BYTES)
    frames: list[Frame] = []
    for at in range(0, len(sound), 701):
        os.write(writer, sound[at : at + 701])
        frames += source.read(100)
    os.close(writer)
    assert b"".join(frame.pcm for frame in frames) == sound
    assert [frame.first_sample for frame in frames] == [0, FRAME_SAMPLES, 2 * FRAME_SAMPLES]


def test_without_sound_reading_does_not_wait(pipe: tuple[StdinSource, int]) -> None:
    source, writer = pipe
    assert source.read(100) == []
    assert not source.ended
    os.close(writer)


def test_no_more_is_read_than_was_asked_for(pipe: tuple[StdinSource, int]) -> None:
    source, writer = pipe
    os.write(writer, bytes(5 * FRAME_BYTES))
    assert [len(source.read(2)), len(source.read(2)), len(source.read(2))] == [2, 2, 1]
    os.close(writer)


def test_the_end_fills_the_last_frame_with_silence(pipe: tuple[StdinSource, int]) -> None:
    source, writer = pipe
    os.write(writer, b"\1\2" * 10)
    os.close(writer)
    assert source.read(100) == []
    assert source.read(100) == [Frame(0, b"\1\2" * 10 + bytes(FRAME_BYTES - 20))]
    assert source.ended
    assert source.take_notes() == []
    assert source.read(100) == []


def test_an_input_without_any_sound_is_refused(pipe: tuple[StdinSource, int]) -> None:
    source, writer = pipe
    os.close(writer)
    with pytest.raises(SourceError, match="standard input is empty"):
        source.read(100)


def test_half_a_sample_at_the_end_is_told(pipe: tuple[StdinSource, int]) -> None:
    source, writer = pipe
    os.write(writer, b"\1\2\3")
    os.close(writer)
    source.read(100)
    assert source.read(100) == [Frame(0, b"\1\2" + bytes(FRAME_BYTES - 2))]
    (note,) = source.take_notes()
    assert "in the middle of a sample" in note


def test_a_sound_file_instead_of_raw_sound_is_refused(pipe: tuple[StdinSource, int]) -> None:
    source, writer = pipe
    os.write(writer, b"RIFF\x24\0\0\0WAVEfmt ")
    with pytest.raises(SourceError, match="not raw PCM"):
        source.read(100)
    os.close(writer)


def test_a_terminal_is_refused() -> None:
    master, terminal = os.openpty()
    with pytest.raises(SourceError, match="is a terminal"):
        StdinSource(terminal).open()
    os.close(master)
    os.close(terminal)
