from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from bus.addresses import Addresses
from tests.unit.bus.plane import Plane


@pytest.fixture
def addresses() -> Iterator[Addresses]:
    """An instance's directories, in a path short enough for socket names."""
    with tempfile.TemporaryDirectory(prefix="ear") as directory:
        found = Addresses(Path(directory) / "run", Path(directory) / "state")
        found.prepare()
        yield found


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def plane(addresses: Addresses, context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[Plane]:
    plane = Plane(addresses, context)
    plane.start()
    yield plane
    plane.close()
