"""The parent's side of the sd_notify protocol: a datagram socket, and the lines that arrive on it.

The kernel tells which process sent a datagram, so a child cannot speak for another and a stranger for none.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MAX_DATAGRAM_BYTES = 8192
MAX_DATAGRAMS_AT_ONCE = 1000  # a child that floods must not keep the launcher from everything else
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True)
class Notice:
    """What one process said."""

    pid: int
    values: dict[str, str]


def parse(datagram: bytes) -> dict[str, str]:
    """The `KEY=VALUE` lines of a datagram. What is not such a line is passed over, as sd_notify(3) asks."""
    lines = (line.partition("=") for line in datagram.decode(errors="replace").splitlines())
    return {key: value for key, equals, value in lines if equals and key}


class NotifySocket:
    """Receives what children say. An address that begins with `@` is in the abstract name space and leaves no file."""

    def __init__(self, address: str) -> None:
        """Bind. Raises OSError when that cannot be done."""
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        if address.startswith("@"):
            self._socket.bind("\0" + address[1:])
        else:
            Path(address).unlink(missing_ok=True)
            self._socket.bind(address)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> Iterator[Notice]:
        """Yield what has arrived, without waiting."""
        for _ in range(MAX_DATAGRAMS_AT_ONCE):
            try:
                data, ancillary, _flags, _address = self._socket.recvmsg(MAX_DATAGRAM_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size))
            except BlockingIOError:
                return
            pid = _sender(ancillary)
            if pid:
                yield Notice(pid, parse(data))

    def close(self) -> None:
        self._socket.close()
        if not self.address.startswith("@"):
            with suppress(OSError):
                Path(self.address).unlink()


def _sender(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= _CREDENTIALS.size:
            pid: int = _CREDENTIALS.unpack_from(data)[0]
            return pid
    return 0
