"""From the configuration to the server: its address, its key, how long to wait for it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from actors.llm.client import ChatClient, Timeouts
from actors.llm.engine import Engine
from actors.llm.errors import ServerNotStarted
from bus.addresses import Addresses
from bus.settings import REHEARSAL_URL, LlmSettings, Settings

REHEARSAL_PORT_FILE = "rehearsal-llm.port"
"""In the runtime directory: the TCP port of this instance's rehearsal server."""


def client_for(settings: Settings, addresses: Addresses, environ: Mapping[str, str] = os.environ) -> ChatClient:
    """A client of the configured server. Raises ServerNotStarted while the rehearsal server has told no port yet."""
    llm = settings.llm
    return ChatClient(
        base_url=server_url(llm, addresses),
        api_key=environ.get(llm.api_key_env, ""),
        api_key_env=llm.api_key_env,
        timeouts=Timeouts(llm.connect_timeout_s, llm.first_token_timeout_s, llm.stall_timeout_s, llm.total_timeout_s),
        options={"temperature": llm.temperature},
    )


def engine_for(settings: Settings, addresses: Addresses, environ: Mapping[str, str] = os.environ) -> Engine:
    """An engine for the configured server and model. Raises ServerNotStarted as `client_for` does."""
    return Engine(client_for(settings, addresses, environ), settings.llm.model, settings.llm.system_role)


def server_url(llm: LlmSettings, addresses: Addresses) -> str:
    """The server's address now: the rehearsal server may have another port after a restart."""
    if llm.url != REHEARSAL_URL:
        return llm.url
    try:
        port = int((addresses.runtime_dir / REHEARSAL_PORT_FILE).read_text())
    except (OSError, ValueError):
        raise ServerNotStarted("the rehearsal LLM server has not started yet: see `supervisor status`") from None
    return f"http://127.0.0.1:{port}/v1"
