"""The actor `rehearsal-llm`: the rehearsal server as a supervised process."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from actors.rehearsal_llm.server import Line, RehearsalServer
from actors.rehearsal_llm.wire import Manners
from bus.errors import SetupError

if TYPE_CHECKING:
    from actors.actor import Runtime

PORT_FILE = "rehearsal-llm.port"


class RehearsalLlm:
    """Serves from threads of its own; leaves its port where `llm.url = "rehearsal"` looks for it."""

    def __init__(self, runtime: Runtime) -> None:
        """Raises SetupError where the configured port is taken."""
        settings = runtime.settings.rehearsal_llm
        manners = Manners(first_token_delay_ms=settings.first_token_delay_ms, token_delay_ms=settings.token_delay_ms)
        try:
            server = RehearsalServer(settings.port, settings.model, manners, script=_read_script(settings.script))
        except OSError as error:
            raise SetupError(
                f"the rehearsal LLM cannot listen on port {settings.port} ({error.strerror}): set rehearsal_llm.port to a free one, or 0"
            ) from None
        self._ending = ExitStack()
        self._ending.enter_context(server.running())
        _write_port(runtime.addresses.runtime_dir / PORT_FILE, server.port)
        runtime.status(f"{settings.model} at {server.base_url}")

    def close(self) -> None:
        """Stop serving; replies in progress break off."""
        self._ending.close()


def _read_script(path: str) -> list[Line]:
    if not path:
        return []
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=list[Line])
    except (OSError, msgspec.MsgspecError) as error:
        raise SetupError(f"rehearsal_llm.script: cannot use {path}: {error}") from None


def _write_port(path: Path, port: int) -> None:
    """Whole or not at all: the bridge reads it at any moment."""
    partial = path.with_suffix(".partial")
    partial.write_text(f"{port}\n")
    partial.replace(path)
