from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.addresses import Addresses
from tests.fakes.audio_instance import Instance


@pytest.fixture
def addresses() -> Iterator[Addresses]:
    """An instance's directories, in a path short enough for socket names."""
    with tempfile.TemporaryDirectory(prefix="ear") as directory:
        found = Addresses(Path(directory) / "run", Path(directory) / "state")
        found.prepare()
        yield found


@pytest.fixture
def instance(addresses: Addresses) -> Iterator[Instance]:
    """An instance without actors."""
    instance = Instance(addresses)
    yield instance
    instance.close()
