"""The actor `metrics`: serves `/metrics` to a Prometheus on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import start_http_server

from actors.metrics.figures import Figures
from bus.errors import SetupError
from bus.messages.actor import HOUSEKEEPING

if TYPE_CHECKING:
    from actors.actor import Runtime
    from bus.messages.base import Message

HOST: Final = "127.0.0.1"


class Metrics:
    """Listens to all events, and answers scrapes from a thread of its own."""

    def __init__(self, runtime: Runtime) -> None:
        """Raise SetupError when the port is taken."""
        self._runtime = runtime
        self._figures = Figures()
        port = runtime.settings.metrics.port
        try:
            self._server, self._thread = start_http_server(port, HOST, self._figures.registry)
        except OSError as error:
            raise SetupError(f"metrics cannot be served on port {port} ({error.strerror}): set metrics.port to a free one") from None
        runtime.subscribe("", self._on_event)
        runtime.status(f"http://{HOST}:{port}/metrics")

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _on_event(self, message: Message) -> None:
        if message.topic not in HOUSEKEEPING:
            self._figures.add(message, self._runtime.clock.monotonic_ns())
