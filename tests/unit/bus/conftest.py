from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from bus.addresses import Addresses
from tests.unit.bus.plane import Plane


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
