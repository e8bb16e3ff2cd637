"""Configuration files to checked settings, and every error in them at once.

Layers, later ones over earlier ones: `config/default.toml`, the files given (each after the file it `extends`), the
`--set key=value` options. EARSHOT_RUNTIME_DIR and EARSHOT_STATE_DIR stand over the files and under `--set`, because
they are how one instance is told from another on a command line. Each layer is checked by itself, so that an error is
told with the file and line that it came from.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from bus.addresses import Addresses
from bus.errors import AddressError, SetupError
from bus.settings import REHEARSAL_URL, Settings
from bus.texts import Phrases, Texts

Key = tuple[str, ...]
Table = dict[str, Any]

_FILE_KEYS: Final = (
    ("mic", "file"),
    ("vad", "turn_model"),
    ("speaker", "file"),
    ("memory", "database"),
    ("rehearsal_llm", "script"),
    ("instance", "runtime_dir"),
    ("instance", "state_dir"),
)
_MODEL: Final = ("whisper", "model")
_BY_LANGUAGE: Final = {"texts": Texts, "phrases": Phrases}
_BAD: Final = object()
_WORDS: Final = {
    "array": "a list", "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", " | null": "", " | ": " or "
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One error in the configuration."""

    source: str
    """File name, or the `--set` option."""
    line: int | None
    key: str
    """Dotted; empty where the whole file is meant."""
    message: str

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


class SettingsError(SetupError):
    """The configuration cannot be used. `problems` holds every error found; the text is one line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True)
class Layer:
    """One source of settings."""

    source: str
    folder: Path
    """What relative paths in it start from."""
    table: Table
    text: str = ""

    @cached_property
    def lines(self) -> dict[Key, int]:
        return key_lines(self.text)

    def problem(self, key: Key, message: str) -> Problem:
        return Problem(self.source, self.lines.get(key), ".".join(key), message)


def load(
    paths: Sequence[Path | str] = (), sets: Sequence[str] = (), environ: Mapping[str, str] = os.environ, *, recorded: Table | None = None
) -> Settings:
    """Read, check and merge the configuration; the two directories in it are absolute.

    `paths` are the files given with --config, `sets` the `key=value` texts given with --set; `recorded` is the configuration of a
    recording, over the defaults and under all else. Raises SettingsError.
    """
    problems: list[Problem] = []
    layers = [*_read(default_file(), problems)]
    if recorded is not None:
        layers.append(Layer("the recording", Path("/"), _without_none(recorded)))
    for path in paths:
        layers += _read(Path(path), problems)
    layers += [layer for text in sets if (layer := _set_layer(text, problems)) is not None]
    merged: Table = {}
    for layer in layers:
        clean = _checked(layer.table, Settings, (), layer, problems)
        _resolve_paths(clean, layer.folder)
        _merge(clean, merged)
    _drop_unfinished_roles(merged, layers, problems)
    settings, placed = _place(msgspec.convert(merged, Settings), sets, environ)
    layers += placed
    wrong = {problem.key for problem in problems}
    for keys, message in _contradictions(settings):
        if wrong.isdisjoint(keys):  # what is wrong already was told already
            problems.append(_contradiction(layers, [tuple(key.split(".")) for key in keys], message))
    if problems:
        raise SettingsError(problems)
    return settings


def _without_none(table: Table) -> Table:
    return {key: _without_none(value) if isinstance(value, dict) else value for key, value in table.items() if value is not None}


def default_file() -> Path:
    """The reference configuration. The folder `config` lies beside the packages, in a checkout and when installed."""
    return Path(__file__).parent.parent / "config" / "default.toml"


def key_lines(text: str) -> dict[Key, int]:
    """The line, from 1, at which each key of a TOML text is set.

    tomllib tells no lines. But the first whole-line prefix of the text that parses and has the key ends with the key's
    value, and the value starts where the prefix before it ended; so the parser itself finds the lines, whatever the
    syntax. Quadratic, and so used only to report errors.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    found: dict[Key, int] = {}
    start = 1
    for end in range(1, len(lines) + 1):
        try:
            table = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        for key in _keys(table):
            found.setdefault(key, start)
        start = end + 1
    return found


def _keys(table: Table, above: Key = ()) -> Iterator[Key]:
    for name, value in table.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _keys(value, (*above, name))


def _read(path: Path, problems: list[Problem], above: tuple[Path, ...] = ()) -> list[Layer]:
    """The layers of a file: first those of the file it extends, then its own."""
    layer = _parse(path)
    if isinstance(layer, Problem):
        problems.append(layer)
        return []
    base = layer.table.pop("extends", None)
    if base is None:
        return [layer]
    if not isinstance(base, str):
        problems.append(layer.problem(("extends",), f"must be the name of a file, not {_shown(base)}"))
        return [layer]
    chain = (*above, path.resolve())
    if (path.parent / base).resolve() in chain:
        problems.append(layer.problem(("extends",), "these files extend each other in a circle"))
        return [layer]
    return [*_read(path.parent / base, problems, chain), layer]


def _parse(path: Path) -> Layer | Problem:
    try:
        text = path.read_bytes().decode("utf-8-sig")  # editors on other systems begin a file with a mark
        return Layer(str(path), path.parent.absolute(), tomllib.loads(text), text)
    except OSError as error:
        return Problem(str(path), None, "", f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return Problem(str(path), line, "", "is not UTF-8 text; save it as UTF-8")
    except tomllib.TOMLDecodeError as error:
        where = re.search(r" \(at line (\d+).*\)$", str(error))
        message = f"is not TOML: {str(error)[: where.start()] if where else error}"
        return Problem(str(path), int(where[1]) if where else None, "", message)


def _set_layer(text: str, problems: list[Problem]) -> Layer | None:
    """A `--set a.b=value` as a layer. The value is TOML, or a plain string where it is not."""
    dotted, equals, raw = text.partition("=")
    if not equals or "." not in dotted:
        problems.append(Problem(f"--set {text}", None, "", "write it as section.key=value, for example vad.mode=2"))
        return None
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw
    for name in reversed([part.strip() for part in dotted.split(".")]):
        value = {name: value}
    return Layer(f"--set {text}", Path.cwd(), value)


def _checked(table: Table, kind: Any, above: Key, layer: Layer, problems: list[Problem]) -> Table:
    """The part of a table that fits the struct `kind`; what does not is added to `problems`."""
    types = get_type_hints(kind, include_extras=True)
    clean: Table = {}
    for name, value in table.items():
        key = (*above, name)
        if name not in types:
            problems.append(layer.problem(key, f"is unknown{_meant(name, types) or _elsewhere(name)}"))
        elif (fit := _fitting(value, types[name], key, layer, problems)) is not _BAD:
            clean[name] = fit
    return clean


def _fitting(value: Any, kind: Any, key: Key, layer: Layer, problems: list[Problem]) -> Any:
    """The value, or _BAD when it does not fit `kind`. Tables go on to their own fields."""
    if _is_struct(kind) or get_origin(kind) is dict:
        if not isinstance(value, dict):
            problems.append(layer.problem(key, f"must be a table, not {_shown(value)}"))
            return _BAD
        if _is_struct(kind):
            return _checked(value, kind, key, layer, problems)
        entry = get_args(kind)[1]
        fits = {name: _fitting(each, entry, (*key, name), layer, problems) for name, each in value.items()}
        return {name: fit for name, fit in fits.items() if fit is not _BAD}
    if (message := _misfit(value, kind)) is not None:
        problems.append(layer.problem(key, message))
        return _BAD
    return value


def _misfit(value: Any, kind: Any) -> str | None:
    """What is wrong with a single value, or None."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be a finite number, not {value}"
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        if get_origin(kind) is Literal:
            choices = [str(choice) for choice in get_args(kind)]
            listed = ", ".join(f'"{choice}"' for choice in choices)
            return f"must be one of {listed}, not {_shown(value)}{_meant(str(value), choices)}"
        wanted = _plain(str(error).removeprefix("Expected ").partition(", got")[0])
        if get_origin(kind) is Annotated and "matching regex" in wanted:
            wanted = next(meta.description for meta in get_args(kind)[1:] if meta.description)
        return f"must be {wanted}, not {_shown(value)}"
    return None


def _plain(wanted: str) -> str:
    """msgspec's words for a type in everyone's words."""
    for name, words in _WORDS.items():
        wanted = wanted.replace(name, words)
    return wanted.replace("`", "")


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _shown(value: Any) -> str:
    """A value as TOML writes it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _meant(name: str, candidates: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), list(candidates), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _elsewhere(name: str) -> str:
    """A hint for a key that stands in the wrong table."""
    sections = get_type_hints(Settings)
    places = [f"{section}.{name}" for section, kind in sections.items() if name in get_type_hints(kind)]
    places += [f"dialogue.{table}.en.{name}" for table, kind in _BY_LANGUAGE.items() if name in get_type_hints(kind)]
    return f'; did you mean "{places[0]}"?' if places else ""


def _resolve_paths(table: Table, folder: Path) -> None:
    """Make paths absolute: a relative one starts from the folder of the file that it stands in."""
    for section, name in _FILE_KEYS:
        if path := table.get(section, {}).get(name):
            table[section][name] = _absolute(path, folder)
    model = table.get(_MODEL[0], {}).get(_MODEL[1], "")
    if _is_path(model) or (model and (folder / model).is_dir()):
        table[_MODEL[0]][_MODEL[1]] = _absolute(model, folder)


def _is_path(model: str) -> bool:
    """Whether a model is given as a directory for sure; a name may hold a slash too (`Systran/faster-whisper-tiny`)."""
    return model.startswith(("/", "./", "../", "~"))


def _absolute(path: str, folder: Path) -> str:
    return os.path.normpath(folder / Path(path).expanduser())


def _merge(over: Table, into: Table) -> None:
    for name, value in over.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(value, into[name])
        else:
            into[name] = value


def _drop_unfinished_roles(merged: Table, layers: list[Layer], problems: list[Problem]) -> None:
    roles = merged.get("dialogue", {}).get("roles", {})
    for name in [name for name, role in roles.items() if "prompt" not in role]:
        del roles[name]
        key = ("dialogue", "roles", name)
        if not any(problem.key.startswith(".".join(key)) for problem in problems):
            problems.append(_origin(layers, key).problem(key, "needs a prompt"))


def _place(settings: Settings, sets: Sequence[str], environ: Mapping[str, str]) -> tuple[Settings, list[Layer]]:
    """Fill in the two directories; return the environment's variables that had the last word about them as layers, too."""
    given = {text.partition("=")[0].strip() for text in sets}
    hidden = {"EARSHOT_RUNTIME_DIR": "instance.runtime_dir", "EARSHOT_STATE_DIR": "instance.state_dir"}
    environ = {name: value for name, value in environ.items() if hidden.get(name) not in given}
    there = Addresses.resolve(settings.instance.runtime_dir, settings.instance.state_dir, environ)
    instance = msgspec.structs.replace(settings.instance, runtime_dir=str(there.runtime_dir), state_dir=str(there.state_dir))
    if not settings.instance.runtime_dir:
        hidden = {"XDG_RUNTIME_DIR": "instance.runtime_dir", **hidden}
    layers = [
        Layer(name, Path.cwd(), {"instance": {key.partition(".")[2]: environ[name]}}) for name, key in hidden.items() if environ.get(name)
    ]
    return msgspec.structs.replace(settings, instance=instance), layers


def _contradiction(layers: list[Layer], keys: Sequence[Key], message: str) -> Problem:
    """A contradiction between keys, told where the last word about any of them was said: that is what brought it about."""
    places = [(layer, key) for layer in reversed(layers) for key in keys if key in set(_keys(layer.table))]
    layer, key = places[0] if places else (layers[-1], keys[0])
    return Problem(layer.source, layer.lines.get(key), ".".join(keys[0]), message)


def _origin(layers: list[Layer], key: Key) -> Layer:
    """The layer that had the last word about a key; the last layer when none has it."""
    return next((layer for layer in reversed(layers) if key in set(_keys(layer.table))), layers[-1])


def _contradictions(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """What no single value shows: the keys that take part, the one to blame first, and what is wrong."""
    yield from _vad_contradictions(settings)
    yield from _source_contradictions(settings)
    yield from _model_contradictions(settings)
    yield from _voice_contradictions(settings)
    if settings.network.listen:
        yield from _network_contradictions(settings)
    dialogue, llm = settings.dialogue, settings.llm
    if dialogue.role not in dialogue.roles:
        hint = _meant(dialogue.role, dialogue.roles) or f"; the roles are {', '.join(sorted(dialogue.roles))}"
        yield ("dialogue.role",), f'names no role: "{dialogue.role}"{hint}'
    for phrase in dialogue.wake:
        if not re.search(r"[^\W_]", phrase):
            yield ("dialogue.wake",), f"has a phrase without a word, {_shown(phrase)}: nothing would begin with it"
    if llm.first_token_timeout_s > llm.total_timeout_s:
        yield ("llm.first_token_timeout_s", "llm.total_timeout_s"), "is longer than llm.total_timeout_s"
    elif llm.first_token_timeout_s > llm.answer_timeout_s:
        yield ("llm.first_token_timeout_s", "llm.answer_timeout_s"), "is longer than llm.answer_timeout_s"
    if settings.whisper.load_timeout_s > settings.launcher.ready_timeout_s:
        yield ("whisper.load_timeout_s", "launcher.ready_timeout_s"), "is longer than launcher.ready_timeout_s, which would end it first"
    if llm.url == REHEARSAL_URL and not settings.rehearsal_llm.enabled:
        yield ("llm.url", "rehearsal_llm.enabled"), 'is "rehearsal": set rehearsal_llm.enabled = true too'
    try:
        Addresses(Path(settings.instance.runtime_dir), Path(settings.instance.state_dir)).check_length()
    except AddressError as error:
        yield ("instance.runtime_dir",), str(error)


def _vad_contradictions(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    vad = settings.vad
    try:
        endpointing = vad.endpointing
    except SetupError as error:
        yield ("vad.preset", "vad.minimum_speech_s", "vad.silence_limit_s"), str(error)
        return
    if endpointing.minimum_speech_s > vad.maximum_s:
        keys = ("vad.maximum_s", "vad.minimum_speech_s", "vad.preset")
        yield keys, f"is under the minimum of speech, {endpointing.minimum_speech_s:g} s: nothing would be heard"
    if endpointing.finished_silence_s > endpointing.silence_limit_s:
        yield ("vad.finished_silence_s", "vad.silence_limit_s"), f"is longer than the silence limit, {endpointing.silence_limit_s:g} s"
    if endpointing.unfinished_silence_s < endpointing.silence_limit_s:
        yield ("vad.unfinished_silence_s", "vad.silence_limit_s"), f"is shorter than the silence limit, {endpointing.silence_limit_s:g} s"
    if vad.turn_model and not Path(vad.turn_model).expanduser().is_file():
        yield ("vad.turn_model",), f"there is no file {json.dumps(vad.turn_model)}"


def _source_contradictions(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    mic = settings.mic
    if mic.source == "file" and not mic.file:
        yield ("mic.file", "mic.source"), 'is needed when mic.source is "file"'
    if mic.source == "file" and mic.file and not Path(mic.file).is_file():
        yield ("mic.file", "mic.source"), f"there is no file {json.dumps(mic.file)}"
    if settings.launcher.until == "source-ends" and mic.source not in ("file", "stdin"):
        keys = ("launcher.until", "mic.source")
        yield keys, f'is "source-ends", but a source "{mic.source}" never ends; use "stopped"'


def _voice_contradictions(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    tts, speaker = settings.tts, settings.speaker
    if tts.engine == "piper" and not tts.piper_command:
        yield ("tts.piper_command", "tts.engine"), 'is needed when tts.engine is "piper"'
    for name in ("url", "model"):
        if tts.engine == "openai" and not getattr(tts, name):
            yield (f"tts.{name}", "tts.engine"), 'is needed when tts.engine is "openai"'
    if tts.engine != "none" and speaker.duplex == "full" and settings.interruption.min_words and not _has_partials(settings):
        keys = ("interruption.min_words", "vad.pause_ms", "vad.partial_ms", "whisper.workers")
        yield keys, "needs words while somebody speaks, and none come: set vad.pause_ms, or vad.partial_ms with two whisper.workers or more"
    if tts.engine != "none" and speaker.output == "file" and not speaker.file:
        yield ("speaker.file", "speaker.output"), 'is needed when speaker.output is "file"'
    if tts.engine != "none" and tts.load_timeout_s > settings.launcher.ready_timeout_s:
        yield ("tts.load_timeout_s", "launcher.ready_timeout_s"), "is longer than launcher.ready_timeout_s, which would end it first"


def _has_partials(settings: Settings) -> bool:
    """Whether words are known before an utterance is over: a single worker has no time for that but in pauses."""
    return settings.vad.pause_ms > 0 or (settings.vad.partial_ms > 0 and settings.whisper.workers != 1)


def _network_contradictions(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    from bus.security import Keys, parse_place

    try:
        parse_place(settings.network.listen)
        Keys(Addresses(Path(settings.instance.runtime_dir), Path(settings.instance.state_dir)).keys_dir).own()
    except SetupError as error:
        yield ("network.listen",), f"cannot be used: {error}"


def _model_contradictions(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    model, language = settings.whisper.model, settings.whisper.language
    if model.endswith(".en") and language not in ("", "en"):
        yield (
            ("whisper.language", "whisper.model"),
            f'is {_shown(language)}, and {_shown(model)} knows English only; take one without ".en"',
        )
    if not _is_path(model):
        return
    if not Path(model).is_dir():
        yield ("whisper.model",), f"there is no directory {json.dumps(model)}"
    elif not (Path(model) / "model.bin").is_file():
        message = f"no model in {json.dumps(model)}: model.bin is missing; a converted (CTranslate2) model is needed"
        yield ("whisper.model",), message
