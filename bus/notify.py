"""The child's side of the sd_notify protocol: one datagram of KEY=VALUE lines to $NOTIFY_SOCKET.

Understood by systemd and by our own launcher. See sd_notify(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Tells the parent how this process is. Without a $NOTIFY_SOCKET it tells nobody."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._socket: socket.socket | None = None
        address = environ.get("NOTIFY_SOCKET", "")
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
            self._address = "\0" + address[1:] if address.startswith("@") else address

    def tell(self, **values: str) -> bool:
        """Send `KEY=VALUE` lines; return whether they were handed to the kernel. Never blocks, never raises."""
        if self._socket is None:
            return False
        text = "\n".join(f"{key}={value.translate(_ONE_LINE)}" for key, value in values.items())
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError:
            # The parent is gone or its queue is full. It judges us by what arrives, so there is nobody else to tell.
            return False
        return True


_ONE_LINE = str.maketrans("\n\r", "  ")
