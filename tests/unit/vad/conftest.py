from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.addresses import Addresses
from tests.fakes.audio_instance import Instance


@pytest.fixture
def instance() -> Iterator[Instance]:
    """An instance without actors, in directories short enough for socket names."""
    with tempfile.TemporaryDirectory(prefix="ear") as directory:
        addresses = Addresses(Path(directory) / "run", Path(directory) / "state")
        addresses.prepare()
        instance = Instance(addresses)
        yield instance
        instance.close()
