"""Which processes there are, by configuration."""

from typing import Any

import msgspec

from bus.settings import Settings
from supervisor.children import Child, plan
from supervisor.placement import Placement

PLACEMENT = Placement(whisper=((15, 16, 17, 18, 19), (5, 6, 7, 8, 9)), light=(0, 1, 2, 3, 4, 10, 11, 12, 13, 14))


def children(*, foreground: bool = True, **tables: Any) -> dict[str, Child]:
    settings = msgspec.convert(tables, Settings)
    return {child.name: child for child in plan(settings, PLACEMENT, foreground=foreground)}


def test_the_real_thing_is_a_microphone_a_pool_of_workers_and_the_rest() -> None:
    assert list(children()) == [
        "broker",
        "dispatcher",
        "recorder",
        "memory",
        "dialogue",
        "llm",
        "vad",
        "speaker",
        "tts",
        "whisper-1",
        "whisper-2",
        "console",
        "mic",
    ]


def test_each_worker_has_the_cores_and_the_threads_of_the_plan() -> None:
    worker = children()["whisper-1"]
    assert worker.cpus == "15-19"
    assert worker.env == {"OMP_NUM_THREADS": "5"}
    assert children()["vad"].cpus == "0-4,10-14"


def test_the_source_starts_when_all_others_are_ready() -> None:
    there = children()
    assert {child.name for child in there.values() if child.wave == 1} == {"mic"}


def test_the_bus_the_recorder_and_the_console_outlive_the_others_on_the_way_down() -> None:
    there = children()
    assert {child.name for child in there.values() if child.base} == {"broker", "dispatcher", "recorder", "console"}


def test_a_microphone_is_never_done_but_a_file_is() -> None:
    assert children()["mic"].policy == "permanent"
    assert children(mic={"source": "file", "file": "a.wav"})["mic"].policy == "until-done"


def test_only_a_source_on_standard_input_gets_ours() -> None:
    assert not any(child.stdin for child in children().values())
    assert [child.name for child in children(mic={"source": "stdin"}).values() if child.stdin] == ["mic"]


def test_without_a_source_there_is_no_mic() -> None:
    assert "mic" not in children(mic={"source": "none"})


def test_without_a_voice_there_is_neither_a_voice_nor_a_loudspeaker() -> None:
    assert {"tts", "speaker"} & set(children(tts={"engine": "none"})) == set()


def test_the_rehearsal_server_is_started_when_it_is_wanted() -> None:
    assert "rehearsal-llm" not in children()
    assert "rehearsal-llm" in children(rehearsal_llm={"enabled": True})


def test_the_console_is_for_the_foreground_and_may_be_silent_for_as_long_as_it_likes() -> None:
    console = children()["console"]
    assert console.terminal
    assert console.watchdog_s is None
    assert "console" not in children(foreground=False)
    assert "console" not in children(console={"enabled": False})


def test_the_watchdog_is_that_of_the_configuration() -> None:
    assert children(launcher={"watchdog_s": 7.5})["vad"].watchdog_s == 7.5
