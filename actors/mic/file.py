"""A sound file as a source: WAV, FLAC and whatever else libsndfile reads, block by block, in any rate and channel count."""

from __future__ import annotations

import re
from pathlib import Path

import soundfile

from actors.mic.convert import Converter
from actors.mic.sources import Cutter, Frame, SourceError
from bus.limits import FRAME_MS

# A WAV header tells the length of its data. libsndfile corrects it to the length of the file and only notes that in its log.
_WAV_LENGTH = re.compile(r"data : (\d+) \(should be (\d+)\)")
_UNKNOWN_LENGTH = 0x7FFF0000  # programs that write WAV into a pipe put a number like this, or greater, for "until it ends"


class FileSource:
    """Reads a file from its first sample, or on from `start_sample` (a multiple of 480) of its sound at 16 kHz."""

    def __init__(self, path: Path, start_sample: int = 0) -> None:
        self._path = path
        self._start_sample = start_sample
        self._cutter = Cutter()
        self._ready: list[Frame] = []
        self._notes: list[str] = []
        self._heard = 0  # samples per channel read so far, at the file's own rate
        self._at_end = False

    @property
    def label(self) -> str:
        return str(self._path)

    def open(self) -> None:
        """Raise SourceError when the file is missing, unreadable, empty, not a sound, or holds no sample."""
        self._file = _open(self._path)
        self._converter = Converter(self._file.samplerate)
        self._block = max(1, self._file.samplerate * FRAME_MS // 1000)

    def fileno(self) -> None:
        """Nothing to wait for: a file always has its next frame."""

    def read(self, max_frames: int) -> list[Frame]:
        while len(self._ready) < max_frames and not self._at_end:
            frames = self._read_block()
            self._ready += [frame for frame in frames if frame.first_sample >= self._start_sample]
        frames, self._ready = self._ready[:max_frames], self._ready[max_frames:]
        return frames

    @property
    def ended(self) -> bool:
        return self._at_end and not self._ready

    def take_notes(self) -> list[str]:
        notes, self._notes = self._notes, []
        return notes

    @property
    def trouble(self) -> str:
        return ""

    def close(self) -> None:
        self._file.close()

    def _read_block(self) -> list[Frame]:
        """Read the next 30 ms. Small blocks, because of one in which the file breaks off nothing is returned."""
        try:
            sound = self._file.read(self._block, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            return self._end()
        self._heard += len(sound)
        if not len(sound):
            return self._end()
        return self._cutter.feed(self._converter.feed(sound))

    def _end(self) -> list[Frame]:
        self._at_end = True
        declared = _declared_samples(self._file)
        if declared is not None and self._heard < declared:
            rate = self._file.samplerate
            self._notes.append(
                f"{self._path} is truncated or damaged: heard its first {self._heard / rate:.2f} s of {declared / rate:.2f} s; "
                "copy it again if you need the rest"
            )
        return self._cutter.feed(self._converter.finish()) + self._cutter.finish()


def _open(path: Path) -> soundfile.SoundFile:
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise SourceError(f"{path} is empty (0 bytes): there is no sound in it")
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}; give the path of a sound file (WAV, FLAC)") from error
    try:
        sound = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        raise SourceError(f"{path} is not a sound file that can be read ({error.error_string}); convert it to WAV or FLAC") from error
    if not sound.frames:
        sound.close()
        raise SourceError(f"{path} ends after its header: there is no sound in it")
    return sound


def _declared_samples(sound: soundfile.SoundFile) -> int | None:
    """How many samples per channel the file says it has; None when it does not say."""
    lengths = _WAV_LENGTH.search(sound.extra_info)
    if lengths is None:
        return int(sound.frames)
    declared_bytes, real_bytes = int(lengths[1]), int(lengths[2])
    if declared_bytes >= _UNKNOWN_LENGTH or declared_bytes <= real_bytes:
        return None
    return int(sound.frames) * declared_bytes // real_bytes
