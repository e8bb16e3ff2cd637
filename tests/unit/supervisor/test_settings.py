"""Configuration: what is merged, what is refused, and how each error is told."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import SetupError
from bus.settings import PRESETS, InstanceSettings, Settings, VadSettings, dump_resolved, load_resolved
from bus.texts import Phrases, Texts
from supervisor.settings import Problem, SettingsError, default_file, key_lines, load

CONFIG = default_file().parent
HOME = {"HOME": "/home/me", "XDG_RUNTIME_DIR": "/run/user/7"}
WriteFile = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    def write_file(text: str, name: str = "my.toml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write_file


def problems(*paths: Path) -> tuple[Problem, ...]:
    try:
        load(paths, environ=HOME)
    except SettingsError as error:
        return error.problems
    return ()


def errors(*paths: Path, sets: tuple[str, ...] = ()) -> list[str]:
    """The text of each error, file names without their folder."""
    with pytest.raises(SettingsError) as caught:
        load(paths, sets, HOME)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.problems), "each error is one line"
    return [re.sub(r"^\S*/", "", line) for line in lines]


def test_the_defaults_are_the_real_thing() -> None:
    settings = load(environ=HOME)
    assert (settings.mic.source, settings.whisper.model, settings.whisper.compute_type) == ("device", "medium.en", "int8")
    assert (settings.llm.url, settings.llm.model) == ("http://localhost:8000/v1", "/models/mistral-7b")


def test_default_toml_and_the_structs_say_the_same() -> None:
    loaded = load(environ=HOME)
    dialogue = msgspec.structs.replace(loaded.dialogue, roles={}, texts={}, phrases={})
    assert msgspec.structs.replace(loaded, instance=InstanceSettings(), dialogue=dialogue) == Settings()
    assert (loaded.dialogue.texts["en"], loaded.dialogue.phrases["en"]) == (Texts(), Phrases())


@pytest.mark.parametrize("table", ["texts", "phrases"])
def test_every_language_has_every_text_and_phrase_of_its_own(table: str) -> None:
    tables = tomllib.loads(default_file().read_text())["dialogue"][table]
    assert set(tables) == {"en", "de", "fr", "es"}
    english = tables.pop("en")
    for own in tables.values():
        assert set(own) == set(english)
        assert all(own[key] != english[key] for key in english)


def test_default_toml_shows_every_key() -> None:
    text = default_file().read_text()
    shown: set[str] = set()
    section = ""
    for line in text.splitlines():
        if header := re.match(r"\[(\w+)\]$", line):
            section = header[1]
        elif key := re.match(r"#?(\w+) = ", line):
            shown.add(f"{section}.{key[1]}")
    keys = {f"{table.name}.{field.name}" for table in msgspec.structs.fields(Settings) for field in msgspec.structs.fields(table.type)}
    assert keys - {"dialogue.roles", "dialogue.texts", "dialogue.phrases"} <= shown


def test_the_built_in_roles_have_their_caps() -> None:
    caps = {name: role.max_tokens for name, role in load(environ=HOME).dialogue.roles.items()}
    assert caps == {"plain": 256, "support": 256, "coach": 256, "guide": 384}


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.toml")), ids=lambda path: path.name)
def test_every_file_in_config_has_only_keys_and_values_that_fit(path: Path) -> None:
    # A working tree without its large assets lacks files that are named; nothing else may be wrong.
    assert {problem.key for problem in problems(path)} <= {"mic.file", "whisper.model"}


def test_the_rehearsal_runs_without_microphone_network_and_gpu() -> None:
    settings = load([CONFIG / "rehearsal.toml"], environ=HOME)
    assert settings.mic.source == "none"
    assert settings.rehearsal_llm.enabled
    assert settings.llm.url == "rehearsal"
    assert settings.whisper.model == str(CONFIG.parent / "assets" / "rehearsal-whisper")
    assert not settings.whisper.download


def test_later_layers_change_single_keys_of_earlier_ones(write: WriteFile) -> None:
    first = write("[vad]\nmode = 1\npre_roll_ms = 90\n", "first.toml")
    second = write("[vad]\nmode = 2\n", "second.toml")
    vad = load([first, second], ["vad.preset=long-form"], HOME).vad
    assert (vad.mode, vad.pre_roll_ms, vad.preset) == (2, 90, "long-form")


def test_a_file_stands_over_the_one_it_extends(write: WriteFile) -> None:
    write("[vad]\nmode = 0\n[llm]\nmodel = 'base'\n", "base.toml")
    settings = load([write('extends = "base.toml"\n[vad]\nmode = 1\n')], environ=HOME)
    assert (settings.vad.mode, settings.llm.model) == (1, "base")


def test_files_that_extend_each_other_are_refused(write: WriteFile) -> None:
    write('extends = "b.toml"', "a.toml")
    assert errors(write('extends = "a.toml"', "b.toml")) == ["a.toml:1: extends: these files extend each other in a circle"]


def test_a_set_value_is_toml_or_else_text() -> None:
    settings = load((), ["vad.mode=1", "mic.device=USB Audio", "mic.ring_s = 90", "whisper.language="], HOME)
    assert (settings.vad.mode, settings.mic.device, settings.mic.ring_s, settings.whisper.language) == (1, "USB Audio", 90, "")


def test_a_role_can_be_changed_in_one_key_or_added(write: WriteFile) -> None:
    path = write('[dialogue.roles.support]\nmax_tokens = 100\n[dialogue.roles.pirate]\nprompt = "Arr."\n')
    roles = load([path], ["dialogue.role=pirate"], HOME).dialogue.roles
    assert roles["support"].max_tokens == 100
    assert "support" in roles["support"].prompt
    assert roles["pirate"].prompt == "Arr."


# Directories and paths


def test_the_directories_come_from_the_environment_before_the_file(write: WriteFile) -> None:
    path = write('[instance]\nruntime_dir = "run"\nstate_dir = "/state"\n')
    environ = HOME | {"EARSHOT_RUNTIME_DIR": "/tmp/one"}
    instance = load([path], environ=environ).instance
    assert (instance.runtime_dir, instance.state_dir) == ("/tmp/one", "/state")


def test_a_directory_given_with_set_comes_before_the_environment() -> None:
    environ = HOME | {"EARSHOT_RUNTIME_DIR": "/tmp/one", "EARSHOT_STATE_DIR": "/tmp/state"}
    instance = load((), ["instance.runtime_dir=/tmp/two"], environ).instance
    assert (instance.runtime_dir, instance.state_dir) == ("/tmp/two", "/tmp/state")


def test_without_any_wish_the_directories_are_those_of_xdg() -> None:
    assert load(environ=HOME).instance == InstanceSettings(runtime_dir="/run/user/7/earshot", state_dir="/home/me/.local/state/earshot")


def test_relative_paths_start_from_the_folder_of_their_file(write: WriteFile, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.bin").touch()
    (tmp_path / "hello.wav").touch()
    path = write(
        '[mic]\nsource = "file"\nfile = "hello.wav"\n[whisper]\nmodel = "model"\n'
        '[memory]\ndatabase = "../m.db"\n[instance]\nruntime_dir = "run"\n[vad]\nturn_model = "hello.wav"\n'
    )
    settings = load([path], environ=HOME)
    assert settings.mic.file == str(tmp_path / "hello.wav")
    assert settings.vad.turn_model == settings.mic.file
    assert settings.whisper.model == str(tmp_path / "model")
    assert settings.memory.database == str(tmp_path.parent / "m.db")
    assert settings.instance.runtime_dir == str(tmp_path / "run")


def test_a_model_name_with_a_slash_stays_a_name(write: WriteFile) -> None:
    path = write('[whisper]\nmodel = "Systran/faster-whisper-tiny"\n')
    assert load([path], environ=HOME).whisper.model == "Systran/faster-whisper-tiny"


# Errors


def test_a_language_that_the_model_by_its_name_does_not_know_is_an_error(write: WriteFile) -> None:
    path = write('[whisper]\nlanguage = "de"\n')
    assert errors(path) == ['my.toml:2: whisper.language: is "de", and "medium.en" knows English only; take one without ".en"']
    assert load([path], ["whisper.model=medium"], HOME).whisper.language == "de"


def test_every_error_is_told_at_once_with_its_line(write: WriteFile) -> None:
    path = write('[mic]\nsorce = "x"\n\n[vad]\nmode = 7\npreset = "comand"\n[jobs]\nmax_attempts = true\n[whispr]\nx = 1\n')
    assert errors(path, sets=("memory.rounds=many", "nonsense")) == [
        "--set nonsense: write it as section.key=value, for example vad.mode=2",
        'my.toml:2: mic.sorce: is unknown; did you mean "source"?',
        "my.toml:5: vad.mode: must be a whole number <= 3, not 7",
        'my.toml:6: vad.preset: must be one of "command", "conversation", "long-form", "tutorial", "", not "comand"; '
        'did you mean "command"?',
        "my.toml:8: jobs.max_attempts: must be a whole number, not true",
        'my.toml:9: whispr: is unknown; did you mean "whisper"?',
        '--set memory.rounds=many: memory.rounds: must be a whole number, not "many"',
    ]


def test_a_key_in_the_wrong_table_is_told_where_it_belongs(write: WriteFile) -> None:
    assert errors(write("[llm]\nbeam_size = 3\n")) == ['my.toml:2: llm.beam_size: is unknown; did you mean "whisper.beam_size"?']


def test_errors_in_several_files_are_told_together(write: WriteFile) -> None:
    first = write("[vad]\nmode = 9\n", "first.toml")
    second = write("[vad]\nmode = -1\n", "second.toml")
    assert errors(first, second) == [
        "first.toml:2: vad.mode: must be a whole number <= 3, not 9",
        "second.toml:2: vad.mode: must be a whole number >= 0, not -1",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[vad]\nmode = \n", "my.toml:2: is not TOML: Invalid value"),
        (b"[vad]\n\n# caf\xe9\n", "my.toml:3: is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_a_file_that_is_not_toml_is_told_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "my.toml").write_bytes(content)
    assert errors(tmp_path / "my.toml") == [message]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert errors(tmp_path / "none.toml", tmp_path)[0] == "none.toml: cannot be read: No such file or directory"
    assert errors(tmp_path)[0].endswith("cannot be read: Is a directory")


@pytest.mark.parametrize(
    ("sets", "key", "message"),
    [
        ("mic.device=3.5", "mic.device", "must be a whole number or text, not 3.5"),
        ("mic.stream=My mic", "mic.stream", "must be 1 to 16 of a-z, 0-9, '-' and '_', no '-' or '_' first, not \"My mic\""),
        ("vad.threshold=nan", "vad.threshold", "must be a finite number, not nan"),
        ("vad.minimum_speech_s='2'", "vad.minimum_speech_s", 'must be a number, not "2"'),
        ("llm.temperature=2024-01-01", "llm.temperature", 'must be a number, not "2024-01-01"'),
        ("llm.url=example:80", "llm.url", "must be an http:// or https:// address, or 'rehearsal', not \"example:80\""),
        ("dialogue.roles=3", "dialogue.roles", "must be a table, not 3"),
        ("dialogue.roles.support=3", "dialogue.roles.support", "must be a table, not 3"),
        ("dialogue.roles.coach.max_tokens=999", "dialogue.roles.coach.max_tokens", "must be a whole number <= 512, not 999"),
        ("dialogue.roles.mine.max_tokens=100", "dialogue.roles.mine", "needs a prompt"),
        ("dialogue.role=suport", "dialogue.role", 'names no role: "suport"; did you mean "support"?'),
        ("dialogue.role=x", "dialogue.role", 'names no role: "x"; the roles are coach, guide, plain, support'),
        ("dialogue.apology=Oh", "dialogue.apology", 'is unknown; did you mean "dialogue.texts.en.apology"?'),
        ("dialogue.texts.en.confirm=What?", "dialogue.texts.en.confirm", 'must be a text with {words} in it, not "What?"'),
        ("dialogue.wake=hey", "dialogue.wake", 'must be a list, not "hey"'),
        ("dialogue.wake=['...']", "dialogue.wake", 'has a phrase without a word, "...": nothing would begin with it'),
        ("vad.preset=", "vad.preset", "without vad.preset, set both vad.minimum_speech_s and vad.silence_limit_s"),
        ("vad.minimum_speech_s=20 vad.maximum_s=10", "vad.maximum_s", "is under the minimum of speech, 20 s: nothing would be heard"),
        ("mic.source=file", "mic.file", 'is needed when mic.source is "file"'),
        ("mic.source=file mic.file=/nowhere", "mic.file", 'there is no file "/nowhere"'),
        ("launcher.until=source-ends", "launcher.until", 'is "source-ends", but a source "device" never ends; use "stopped"'),
        ("llm.first_token_timeout_s=200", "llm.first_token_timeout_s", "is longer than llm.total_timeout_s"),
        ("llm.first_token_timeout_s=50", "llm.first_token_timeout_s", "is longer than llm.answer_timeout_s"),
        ("whisper.load_timeout_s=400", "whisper.load_timeout_s", "is longer than launcher.ready_timeout_s, which would end it first"),
        ("tts.engine=piper", "tts.piper_command", 'is needed when tts.engine is "piper"'),
        ("tts.engine=openai tts.model=m", "tts.url", 'is needed when tts.engine is "openai"'),
        ("speaker.output=file", "speaker.file", 'is needed when speaker.output is "file"'),
        ("tts.load_timeout_s=400", "tts.load_timeout_s", "is longer than launcher.ready_timeout_s, which would end it first"),
        ("llm.url=rehearsal", "llm.url", 'is "rehearsal": set rehearsal_llm.enabled = true too'),
        ("whisper.model=/nowhere", "whisper.model", 'there is no directory "/nowhere"'),
    ],
)
def test_each_kind_of_mistake_is_told(sets: str, key: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load((), re.split(r" (?=\w+\.\w+=)", sets), HOME)
    assert [(problem.key, problem.message) for problem in caught.value.problems] == [(key, message)]


def test_a_model_directory_without_a_model_is_told(tmp_path: Path) -> None:
    (line,) = errors(sets=(f"whisper.model={tmp_path}",))
    assert line.endswith("model.bin is missing; a converted (CTranslate2) model is needed")


def test_a_runtime_directory_too_long_for_socket_names_is_told() -> None:
    (line,) = errors(sets=(f"instance.runtime_dir=/tmp/{'x' * 100}",))
    assert "a socket name holds at most 107 bytes" in line


def test_an_error_that_follows_from_another_is_not_told(write: WriteFile) -> None:
    path = write('[mic]\nsource = "fiel"\n[launcher]\nuntil = "source-ends"\n')
    assert len(errors(path)) == 1


# Lines


def test_lines_are_found_in_any_syntax() -> None:
    text = (
        '# a comment\r\ntop = 1\r\n\r\n[a]\r\nb.c = 2\r\nlong = """\r\nfake = 1\r\n"""\r\nlist = [\r\n  1,\r\n]\r\n'
        "[a . d]\r\ne = { f = 1 }\r\n"
    )
    assert key_lines(text) == {
        ("top",): 2,
        ("a",): 4,
        ("a", "b"): 5,
        ("a", "b", "c"): 5,
        ("a", "long"): 6,
        ("a", "list"): 9,
        ("a", "d"): 12,
        ("a", "d", "e"): 13,
        ("a", "d", "e", "f"): 13,
    }


names = st.text("abcdefgh", min_size=1, max_size=4)


@given(st.dictionaries(names, st.dictionaries(names, st.integers(), min_size=1, max_size=5), max_size=5), st.data())
def test_each_key_is_found_on_the_line_it_was_written_to(tables: dict[str, dict[str, int]], data: st.DataObject) -> None:
    lines: list[str] = []
    expected: dict[tuple[str, ...], int] = {}
    for table, entries in tables.items():
        lines += data.draw(st.sampled_from([[], [""], ["# note"], ["", "# [x]", ""]]))
        lines.append(f"[{table}]")
        expected[(table,)] = len(lines)
        for name, value in entries.items():
            lines.append(f"{name} = {value}")
            expected[(table, name)] = len(lines)
    assert key_lines("\n".join(lines)) == expected


# What the actors read


def test_what_the_launcher_leaves_is_what_the_actors_read(tmp_path: Path) -> None:
    settings = load(environ=HOME)
    (tmp_path / "config.json").write_bytes(dump_resolved(settings))
    assert load_resolved(tmp_path / "config.json") == settings


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"mic": {"old": 1}}', b"\xff"])
def test_what_is_no_resolved_configuration_is_one_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SetupError, match="supervisor start"):
        load_resolved(path)


def test_a_preset_gives_all_limits_and_a_field_goes_before_it() -> None:
    assert VadSettings(preset="tutorial").endpointing == PRESETS["tutorial"] == (2.0, 1.0, 0.5, 2.0)
    assert VadSettings(preset="long-form", minimum_speech_s=0.0).endpointing == (0.0, 2.0, 1.0, 2.5)
    assert VadSettings(preset="", minimum_speech_s=0.5, silence_limit_s=0.7).endpointing == (0.5, 0.7, 0.15, 1.2)
    assert VadSettings(finished_silence_s=0.3, unfinished_silence_s=0.9).endpointing == (0.8, 0.6, 0.3, 0.9)


def test_a_silence_limit_of_ones_own_takes_the_presets_other_limits_with_it() -> None:
    assert VadSettings(silence_limit_s=3.0).endpointing == (0.8, 3.0, 0.15, 3.0)
    assert VadSettings(silence_limit_s=0.12).endpointing == (0.8, 0.12, 0.12, 1.2)


@pytest.mark.parametrize(
    ("key", "value"), [("finished_silence_s", "0.7"), ("unfinished_silence_s", "0.5"), ("turn_model", '"/nowhere/turn.onnx"')]
)
def test_limits_of_silence_that_contradict_each_other_and_a_model_that_is_not_there_are_told(key: str, value: str) -> None:
    with pytest.raises(SettingsError, match=key):
        load(sets=[f"vad.{key}={value}"], environ=HOME)


@pytest.mark.parametrize("variable", ["EARSHOT_RUNTIME_DIR", "XDG_RUNTIME_DIR"])
def test_what_the_environment_brought_about_is_told_with_the_variables_name(variable: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ=HOME | {variable: "/tmp/" + "long" * 30})
    (problem,) = caught.value.problems
    assert (problem.source, problem.line) == (variable, None)


def test_a_contradiction_is_told_where_the_last_word_about_it_was_said() -> None:
    with pytest.raises(SettingsError) as caught:
        load(sets=["mic.source=file"], environ=HOME)
    assert str(caught.value) == '--set mic.source=file: mic.file: is needed when mic.source is "file"'


@pytest.mark.parametrize(
    ("sets", "is_refused"),
    [
        (["vad.pause_ms=0", "whisper.workers=1"], True),
        (["vad.pause_ms=0", "vad.partial_ms=0"], True),
        (["whisper.workers=1"], False),
        (["vad.pause_ms=0", "whisper.workers=2"], False),
        (["vad.pause_ms=0", "whisper.workers=1", "speaker.duplex=half"], False),
        (["vad.pause_ms=0", "whisper.workers=1", "interruption.min_words=0"], False),
    ],
)
def test_words_that_are_to_interrupt_have_to_come_from_somewhere(sets: list[str], is_refused: bool) -> None:
    sets = ["speaker.duplex=full", "interruption.min_words=2", *sets]
    if not is_refused:
        load(sets=sets, environ=HOME)
        return
    (line,) = errors(sets=tuple(sets))
    assert "interruption.min_words: needs words while somebody speaks" in line
