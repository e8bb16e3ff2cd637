"""A log tells whom and which turn a line is about; one that cannot be written costs its lines and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from actors.log import Log

PROGRAM = """
import sys, threading
from actors.log import Log, forgive_stderr
if sys.argv[1] == "forgiven":
    forgive_stderr()
Log("info", "console", actor="x").error("something happened", why="ümlaut \\ud800")
sys.stderr.write("another line\\n")
threading.Thread(target=lambda: 1 / 0).start()
print("done", flush=True)
"""


def run(how: str, stderr: str) -> subprocess.CompletedProcess[str]:
    with Path(stderr).open("w") as file:
        return subprocess.run([sys.executable, "-c", PROGRAM, how], stdout=subprocess.PIPE, stderr=file, text=True, check=False)


def test_an_actor_whose_log_lies_on_a_full_disk_goes_on_and_ends_well() -> None:
    done = run("forgiven", "/dev/full")
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_without_that_care_it_would_not() -> None:
    assert run("plain", "/dev/full").returncode != 0


def test_what_can_be_written_is_written(tmp_path: Path) -> None:
    run("forgiven", str(tmp_path / "log"))
    text = (tmp_path / "log").read_text()
    assert "something happened" in text
    assert "another line" in text
    assert "ZeroDivisionError" in text


def test_a_line_about_a_turn_has_the_turn_on_it_and_the_next_one_has_not(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log("info", "json", actor="llm", incarnation="a.1")
    with log.about("mic-e-480"):
        log.warning("it takes long")
    log.warning("something else")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["turn"], first["actor"], first["event"]) == ("mic-e-480", "llm", "it takes long")
    assert "turn" not in second
