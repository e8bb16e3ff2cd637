"""Raw answers of real servers, as they came over the wire: vLLM 0.32.0 and llama_cpp.server."""

import http.client
import io
from pathlib import Path
from typing import Any, cast

CAPTURES = Path(__file__).parent.parent / "data" / "llm" / "captures"


def capture(name: str) -> bytes:
    """The answer `SERVER/NAME`, head and body as sent."""
    return (CAPTURES / name).read_bytes()


def status_type_body(name: str) -> tuple[int, str, str]:
    """The answer taken apart: status, media type, body."""
    response = http.client.HTTPResponse(cast(Any, _Wire(capture(name))))
    response.begin()
    return response.status, response.headers.get_content_type(), response.read().decode()


class _Wire:
    """As much of a socket as HTTPResponse wants."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)
