"""TCP ports of the tests' own: other tests run at the same moment, and take whatever is free."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def port_without_a_server() -> Iterator[int]:
    """A port of this machine on which nobody listens. While the context lasts nobody is given it by chance, and a server may begin to
    listen there that sets SO_REUSEADDR, as servers do."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
