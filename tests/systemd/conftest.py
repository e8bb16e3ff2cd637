from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.systemd.machine import Machine, booted, cannot_boot


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A freshly booted machine for the tests of a file, which leave it with nothing running."""
    if reason := cannot_boot():
        pytest.skip(reason)
    with booted() as started:
        yield started
