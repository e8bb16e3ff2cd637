"""How far the speaker had come when it was killed, for its successor.

Two slots in a file of the runtime directory that is mapped into memory, written in turn: what was stored survives SIGKILL, and of a slot
that was being written the checksum is wrong.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast, get_args

from actors.speaker.playout import Reply
from bus.messages.voice import Place, VoiceState

_SLOT_BYTES: Final = 512
_HEAD: Final = struct.Struct("<IQ")  # checksum of the rest, number of the note
_NUMBERS: Final = struct.Struct("<QQQBQQHH")
_STATES: Final = get_args(VoiceState)


@dataclass(frozen=True)
class Note:
    """Where it was."""

    reply: Reply
    place: Place
    state: VoiceState
    inode: int = 0
    """Of the file that is written; 0: none is, or it was closed as it should be."""
    file_bytes: int = 0
    """How long it was then."""


class NoteFile:
    """The file of one speaker. Where it cannot be written the speaker does without."""

    def __init__(self, path: Path) -> None:
        self._memory: mmap.mmap | None = None
        self._number = 0
        self.predecessor: Note | None = None
        """What a predecessor left."""
        with suppress(OSError):
            if not path.exists() or path.stat().st_size != 2 * _SLOT_BYTES:
                path.write_bytes(b"\0" * 2 * _SLOT_BYTES)  # written, not only made so long: a page without room on the disk is a SIGBUS
            with path.open("r+b") as file:
                self._memory = mmap.mmap(file.fileno(), 2 * _SLOT_BYTES)
            found = [slot for slot in (self._read(0), self._read(1)) if slot is not None]
            if found:
                self._number, self.predecessor = max(found, key=lambda slot: slot[0])

    def write(self, note: Note) -> None:
        """It is here now."""
        if self._memory is None:
            return
        turn, stream = (name.encode()[:255] for name in (note.reply.turn, note.reply.stream))
        numbers = _NUMBERS.pack(
            note.reply.attempt, *note.place, _STATES.index(note.state), note.inode, note.file_bytes, len(turn), len(stream)
        )
        rest = numbers + turn + stream
        if len(rest) > _SLOT_BYTES - _HEAD.size:  # names of a length that ours never have
            return
        self._number += 1
        body = struct.pack("<Q", self._number) + rest.ljust(_SLOT_BYTES - _HEAD.size, b"\0")
        begin = self._number % 2 * _SLOT_BYTES
        self._memory[begin : begin + _SLOT_BYTES] = struct.pack("<I", zlib.crc32(body)) + body

    def close(self) -> None:
        """It stays for the successor."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def _read(self, slot: int) -> tuple[int, Note] | None:
        assert self._memory is not None
        data = self._memory[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES]
        checksum, number = _HEAD.unpack_from(data)
        if not number or zlib.crc32(data[4:]) != checksum:
            return None
        attempt, clause, sample, state, inode, file_bytes, turn, stream = _NUMBERS.unpack_from(data, _HEAD.size)
        names = data[_HEAD.size + _NUMBERS.size :]
        try:
            reply = Reply(names[:turn].decode(), attempt, names[turn : turn + stream].decode())
        except UnicodeDecodeError:
            return None
        return number, Note(reply, Place(clause, sample), cast(VoiceState, _STATES[state]), inode, file_bytes)
