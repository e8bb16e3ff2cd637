"""`supervisor memory list|search|export|forget` on a real store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from actors.memory.cli import main
from actors.memory.store import Store
from bus.messages.turn import TurnRecord
from bus.settings import MemorySettings, Settings, dump_resolved

HOUR_NS = 3600 * 1_000_000_000


@pytest.fixture(autouse=True)
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of an instance that is not running."""
    monkeypatch.setenv("EARSHOT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("EARSHOT_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("EARSHOT_CONFIG", raising=False)
    return tmp_path / "state"


@pytest.fixture
def store(instance: Path) -> Iterator[Store]:
    with closing(Store(instance / "memory.sqlite3")) as opened:
        now_ns = time.time_ns()
        for number, (stream, transcript, reply) in enumerate(
            [
                ("mic", "my name is Ada", "Hello Ada."),
                ("phone", "tell me a joke", "[bold]Knock[/bold] knock."),
                ("mic", "what time is it", "Noon."),
            ]
        ):
            opened.remember(
                TurnRecord(
                    turn=f"t{number}",
                    stream=stream,
                    role="plain",
                    state="answered",
                    transcript=transcript,
                    reply=reply,
                    wall_ns=now_ns - (2 - number) * HOUR_NS,
                    timings_ms={"total": 1234.0},
                ),
                12,
            )
        yield opened


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, arguments)


def turns(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [json.loads(line)["turn"] for line in result.output.splitlines()]


@pytest.mark.usefixtures("store")
def test_the_list_shows_each_turn_with_its_time() -> None:
    lines = run("list").output.splitlines()
    assert "User" in lines[0]
    assert "my name is Ada" in lines[1]
    assert "Hello Ada." in lines[1]
    assert "1.2 s" in lines[1]
    assert len(lines) == 4


@pytest.mark.usefixtures("store")
def test_what_was_said_is_no_markup() -> None:
    assert "[bold]Knock[/bold] knock." in run("list").output


@pytest.mark.usefixtures("store")
def test_the_list_as_json_holds_the_last_turns_whole() -> None:
    result = run("list", "--last", "2", "--json")
    assert turns(result) == ["t1", "t2"]
    assert json.loads(result.output.splitlines()[1])["timings_ms"] == {"total": 1234.0}


@pytest.mark.usefixtures("store")
def test_a_search_shows_what_it_finds() -> None:
    assert turns(run("search", "ada", "--json")) == ["t0"]
    assert "what time is it" in run("search", "noon").output
    assert run("search", "zebra").output == "No turns.\n"


@pytest.mark.usefixtures("store")
def test_an_export_is_json_lines_that_make_the_same_records() -> None:
    assert turns(run("export")) == ["t0", "t1", "t2"]
    assert turns(run("export", "--json", "--stream", "mic")) == ["t0", "t2"]


@pytest.mark.usefixtures("store")
def test_times_are_ages_dates_or_nanoseconds() -> None:
    assert turns(run("export", "--since", "90m")) == ["t1", "t2"]
    assert turns(run("export", "--since", "1d")) == ["t0", "t1", "t2"]
    assert turns(run("export", "--since", "2001-01-31 18:00")) == ["t0", "t1", "t2"]
    assert turns(run("export", "--since", str(time.time_ns() - HOUR_NS // 2))) == ["t2"]
    assert turns(run("export", "--since", "9" * 30)) == []
    assert turns(run("export", "--since", "99999999w")) == ["t0", "t1", "t2"]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("text", ["yesterday", "10", "10y", "-1m", "2030-13-01"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    result = run("export", "--since", text)
    assert result.exit_code == 2
    assert "10m, 2h or 3d (ago)" in result.output


def test_forgetting_one_turn_leaves_the_others(store: Store) -> None:
    assert run("forget", "--turn", "t1").output == "Forgot 1 turn.\n"
    assert [record.turn for record in store.newest(10)] == ["t0", "t2"]


def test_forgetting_a_conversation_leaves_the_others(store: Store) -> None:
    assert run("forget", "--stream", "mic").output == "Forgot 2 turns.\n"
    assert [record.turn for record in store.newest(10)] == ["t1"]


def test_forgetting_what_is_old_leaves_what_is_new(store: Store) -> None:
    assert run("forget", "--before", "90m").output == "Forgot 1 turn.\n"
    assert [record.turn for record in store.newest(10)] == ["t1", "t2"]


def test_forgetting_everything_wants_a_yes(store: Store) -> None:
    refused = run("forget", "--all")
    assert refused.exit_code == 2
    assert "add --yes" in refused.output
    assert len(store.newest(10)) == 3
    assert run("forget", "--all", "--yes").output == "Forgot 3 turns.\n"
    assert store.newest(10) == []


@pytest.mark.parametrize("arguments", [[], ["--turn", "t1", "--all"], ["--stream", "mic", "--before", "1h"]])
def test_what_to_forget_must_be_said_once(store: Store, arguments: list[str]) -> None:
    result = run("forget", *arguments)
    assert result.exit_code == 2
    assert "one of --turn, --stream, --before, --all" in result.output
    assert len(store.newest(10)) == 3


@pytest.mark.parametrize("command", [["list"], ["search", "x"], ["export"], ["forget", "--all", "--yes"]])
def test_without_a_database_one_line_says_so_and_none_is_made(instance: Path, command: list[str]) -> None:
    result = run(*command)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"Error: nothing is remembered yet: there is no {instance}/memory.sqlite3; EARSHOT_STATE_DIR names another state directory"
    ]
    assert not instance.exists()


def test_a_file_that_is_no_store_is_told_in_one_line(instance: Path) -> None:
    instance.mkdir()
    (instance / "memory.sqlite3").write_text("Dear diary, " * 100)
    result = run("list")
    assert result.exit_code == 1
    assert "file is not a database" in result.output
    assert len(result.output.splitlines()) == 1


def test_the_configuration_says_where_the_database_is(
    store: Store, instance: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    (instance / "memory.sqlite3").rename(tmp_path / "elsewhere.db")
    config = tmp_path / "config.json"
    config.write_bytes(dump_resolved(Settings(memory=MemorySettings(database=str(tmp_path / "elsewhere.db")))))
    monkeypatch.setenv("EARSHOT_CONFIG", str(config))
    assert turns(run("list", "--json")) == ["t0", "t1", "t2"]


def test_the_configuration_of_the_running_instance_is_found(store: Store, instance: Path, tmp_path: Path) -> None:
    store.close()
    (instance / "memory.sqlite3").rename(tmp_path / "elsewhere.db")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_bytes(dump_resolved(Settings(memory=MemorySettings(database=str(tmp_path / "elsewhere.db")))))
    assert turns(run("list", "--json")) == ["t0", "t1", "t2"]


@pytest.mark.usefixtures("store")
def test_it_is_a_program() -> None:
    command = [sys.executable, "-m", "actors.memory", "search", "joke", "--json"]
    result = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["turn"] == "t1"
