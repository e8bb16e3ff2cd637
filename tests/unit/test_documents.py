"""What the documents say is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bus.losses import MEANINGS
from bus.messages import body_types
from bus.messages.jobs import AnyWork
from supervisor.cli import cli

ROOT = Path(__file__).parents[2]


def test_every_topic_stands_in_the_protocol() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text()
    missing = [
        topic for topic in body_types() if f"`{topic}`" not in text and f"`{topic} " not in text and not topic.startswith("control.")
    ]
    assert missing == []


def test_every_cause_of_a_loss_stands_in_the_operations_manual() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert [cause for cause in MEANINGS if f"| `{cause}` |" not in text] == []


def test_every_stage_of_a_turn_stands_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for work in AnyWork.__args__:
        assert f"`{work.__struct_config__.tag}`" in text


def test_every_command_that_the_readme_shows_is_there() -> None:
    shown = set(re.findall(r"`(?:\.venv/bin/)?supervisor ([a-z]+)", (ROOT / "README.md").read_text()))
    assert shown <= set(cli.commands), shown - set(cli.commands)
    assert {"start", "stop", "restart", "status", "logs", "check", "doctor", "topology", "tap", "hear", "memory"} <= set(cli.commands)


@pytest.mark.parametrize(
    "document",
    sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "assets").rglob("*.md"), *(ROOT / "systemd").glob("*.md")]),
    ids=str,
)
def test_no_link_in_a_document_is_dead(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} links to {target}"
