"""A short attack on a real assistant; the long one is `python -m tests.fuzz`."""

from __future__ import annotations

import pytest

from tests.fuzz.attack import attack, victim
from tests.fuzz.generate import Generator

MESSAGES = 20_000


@pytest.mark.timeout(300)
def test_whatever_is_said_to_the_sockets_nobody_dies_and_every_bad_message_is_counted() -> None:
    with victim() as running:
        report = attack(running, "suite", MESSAGES)
    assert report.said >= MESSAGES
    assert report.restarted == []
    assert report.grown == [], report.memory_bytes
    assert report.miscounted == [], report.counted
    assert report.reply == "Two plus three is five."


def test_the_same_seed_says_the_same() -> None:
    first, second = (Generator("7", ("job.submit",)) for _ in range(2))
    assert [first.shot() for _ in range(500)] == [second.shot() for _ in range(500)]
