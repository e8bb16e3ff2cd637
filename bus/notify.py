"""The child's side of the sd_notify protocol: one datagram of KEY=VALUE lines to $NOTIFY_SOCKET.

Understood by systemd and by our own launcher. See sd_notify(3).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping


class Notifier:
    """Tells the parent how this process is. Without a $NOTIFY_SOCKET it tells nobody."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._socket: socket.socket | None = None
        self._unsent: dict[str, str] = {}
        self._lock = threading.Lock()  # the beat and the main loop both tell
        address = environ.get("NOTIFY_SOCKET", "")
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
            self._address = "\0" + address[1:] if address.startswith("@") else address

    @property
    def has_parent(self) -> bool:
        """Whether there is somebody to tell."""
        return self._socket is not None

    def tell(self, **values: str) -> bool:
        """Send `KEY=VALUE` lines; return whether they were handed to the kernel. Never blocks, never raises.

        The parent's queue is short (net.unix.max_dgram_qlen, 10). What it does not take goes along with the next call, which
        for an actor is the next beat: a lost beat is harmless, a lost READY=1 is not.
        """
        if self._socket is None:
            return False
        with self._lock:
            values = {**self._unsent, **values}
            text = "\n".join(f"{key}={value.translate(_ONE_LINE)}" for key, value in values.items())
            try:
                self._socket.sendto(text.encode(), self._address)
            except OSError:
                # The queue is full, or the parent is gone and there is nobody else to tell.
                self._unsent = {key: value for key, value in values.items() if key != "WATCHDOG"}
                return False
            self._unsent = {}
            return True


_ONE_LINE = str.maketrans("\n\r", "  ")
