from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.assistant import PATIENT, Assistant, assistant


@pytest.fixture(scope="module")
def running() -> Iterator[Assistant]:
    """One assistant for the tests of a file that do not break it for good."""
    with assistant(PATIENT) as started:
        yield started
