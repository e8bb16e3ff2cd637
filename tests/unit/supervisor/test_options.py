"""The command line itself, run in this process."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from supervisor import parked
from supervisor.cli import cli
from supervisor.options import Seconds


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "0.05", "soon"])
def test_seconds_that_are_no_number_of_seconds_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter) as raised:
        Seconds(0.1).convert(text, None, None)
    assert "\n" not in raised.value.message


def test_seconds_are_taken() -> None:
    assert Seconds(0.1).convert("0.1", None, None) == 0.1


@pytest.mark.parametrize(
    "arguments",
    [
        ("tap", "--timeout", "nan"),
        ("topic", "list", "--rates", "nan"),
        ("topic", "hz", "--for", "inf"),
        ("record", "x.mcap", "--for", "nan"),
        ("status", "--every", "nan"),
    ],
)
def test_every_option_of_seconds_refuses_what_is_none(arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2
    assert "is no number of seconds" in done.output


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_with_nothing_parked_all_of_it_is_told_so(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARSHOT_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("EARSHOT_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(parked, "require_running", lambda _addresses: None)
    done = CliRunner().invoke(cli, ["parked", command, "--all"])
    assert (done.exit_code, done.output) == (0, "Nothing is parked.\n")
