"""A server that sends given bytes and nothing else: captured answers cut anywhere, silence, a reset, a drip."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

DRIP_S = 0.02
EVENT_S = 60.0


class Step(Enum):
    """What a script does beside sending bytes."""

    HANG = "send nothing and keep the connection until the client leaves"
    DRIP = "send an SSE comment again and again until the client leaves"
    RESET = "end the connection with a TCP reset"


Script = Sequence[bytes | Step | threading.Event]
"""An event is waited for."""


@dataclass
class Seen:
    """What came in: the raw requests, and whether a client hung up in the middle of a script."""

    requests: list[bytes] = field(default_factory=list)
    client_left: threading.Event = field(default_factory=threading.Event)


class ScriptedServer:
    """Plays one script per connection, in order; the last one again for all further connections."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.seen = Seen()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    @contextlib.contextmanager
    def running(self) -> Iterator["ScriptedServer"]:
        accepting = threading.Thread(target=self._accept, daemon=True)
        accepting.start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            accepting.join()

    def _accept(self) -> None:
        count = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(count, len(self._scripts) - 1)]
            count += 1
            self._connections.append(connection)
            threading.Thread(target=self._play, args=(connection, script), daemon=True).start()

    def _play(self, connection: socket.socket, script: Script) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            try:
                self.seen.requests.append(_read_request(connection))
                for step in script:
                    self._do(connection, step)
            except OSError:
                self.seen.client_left.set()

    def _do(self, connection: socket.socket, step: bytes | Step | threading.Event) -> None:
        if isinstance(step, bytes):
            connection.sendall(step)
        elif isinstance(step, threading.Event):
            step.wait(EVENT_S)
        elif step is Step.HANG:
            if not connection.recv(1):
                self.seen.client_left.set()
        elif step is Step.DRIP:
            connection.settimeout(DRIP_S)
            while True:
                connection.sendall(b": still here\n\n")
                with contextlib.suppress(TimeoutError):
                    connection.recv(1)
        elif step is Step.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _read_request(connection: socket.socket) -> bytes:
    """Head and body of one request."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            raise ConnectionResetError
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    size_bytes = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < size_bytes:
        part = connection.recv(65536)
        if not part:
            raise ConnectionResetError
        body += part
    return head + b"\r\n\r\n" + body
