"""Is everything here that the assistant needs? Each check gives one line: fine, or what to do.

What can hang or is slow to import (the audio stack, the model library) is asked in a process of its own with a deadline.
Nothing is fetched, made or changed.
"""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from bus.addresses import Addresses
from bus.errors import AddressError
from bus.settings import REHEARSAL_URL, InstanceSettings, LlmSettings, MicSettings, Settings, TtsSettings, WhisperSettings
from supervisor.placement import plan_for
from supervisor.topology import Topology, format_cpu_list, this_machine

PROBE_TIMEOUT_S: Final = 20.0
LLM_ANSWER_S: Final = 5.0
FREE_SPACE_BYTES: Final = 200 << 20
MODEL_FILES: Final = ("model.bin", "config.json", "tokenizer.json")
DISTRIBUTION: Final = "earshot"
ROOT: Final = Path(__file__).parent.parent
SOUND_SERVERS: Final = ("", "default", "pulse", "pipewire")
"""Devices of PortAudio behind which is the default device of PulseAudio or PipeWire."""
_PACTL: Final = ("pactl", "--format=json")
_ECHO_CANCELLER: Final = re.compile(r"echo[-_. ]*cancel", re.IGNORECASE)
_HEADSET: Final = re.compile(r"head-?(set|phone)|hands-?free", re.IGNORECASE)

MICROPHONE_PROBE: Final = """
import sys
try:
    import sounddevice
except OSError as error:
    sys.exit(str(error))
from actors.mic.devices import find_device
from bus.errors import EarshotError
devices = sounddevice.query_devices()
try:
    print(devices[find_device(sys.argv[1], devices, sounddevice.default.device[0])]["name"])
except EarshotError as error:
    sys.exit(str(error))
"""
LOUDSPEAKER_PROBE: Final = """
import sys
try:
    import sounddevice
except OSError as error:
    sys.exit(str(error))
from actors.speaker.device import find_output
from bus.errors import EarshotError
devices = sounddevice.query_devices()
try:
    print(devices[find_output(sys.argv[1], devices, sounddevice.default.device[1])]["name"])
except EarshotError as error:
    sys.exit(str(error))
"""
VOICE_PROBE: Final = """
import sys
from actors.tts.engines import load
from bus.errors import EarshotError
from bus.settings import TtsSettings
engine, voice, command, rate_hz, timeout_s = sys.argv[1:]
try:
    load(TtsSettings(engine=engine, voice=voice, piper_command=command, piper_rate_hz=int(rate_hz), timeout_s=float(timeout_s))).close()
except EarshotError as error:
    sys.exit(str(error))
"""
MODEL_PROBE: Final = """
import sys
from faster_whisper.utils import available_models, download_model
try:
    print("here", download_model(sys.argv[1], local_files_only=True))
except ValueError:
    print("unknown", ", ".join(available_models()))
except Exception:  # huggingface_hub raises many kinds; each means that the model is not here
    print("absent")
"""


@dataclass(frozen=True)
class Check:
    """What one check found."""

    name: str
    status: Literal["ok", "warning", "error"]
    """`warning`: it works, but not as it might. `error`: the assistant does not work so."""
    detail: str
    """What is the case, one line."""
    advice: str = ""
    """What to do; empty when it is ok."""


class ProbeError(Exception):
    """A probe ended in an error; the text is the last line that it wrote to stderr."""


class ProbeHung(ProbeError):
    """A probe did not end in time and was killed."""


def run_checks(settings: Settings, environ: Mapping[str, str] = os.environ) -> Iterator[Check]:
    """Every check, one by one as they end. None raises; what cannot be checked is a warning."""
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("python", check_python),
        ("libraries", check_libraries),
        ("model", partial(check_model, settings.whisper)),
        ("microphone", partial(check_microphone, settings.mic)),
        ("llm", partial(check_llm, settings.llm, environ)),
        ("voice", partial(check_voice, settings.tts)),
        ("loudspeaker", partial(check_loudspeaker, settings)),
        ("echo", partial(check_echo, settings)),
        ("cores", partial(check_cores, settings.whisper)),
        ("runtime dir", partial(check_runtime_dir, settings.instance)),
        ("state dir", partial(check_state_dir, settings.instance)),
    ]
    for name, check in checks:
        try:
            yield check()
        except Exception as error:  # a broken check must not hide the others
            yield Check(name, "warning", f"could not be checked: {type(error).__name__}: {error}")


def check_python() -> Check:
    """The interpreter."""
    return Check("python", "ok", f"Python {platform.python_version()} on {platform.machine()} ({sys.executable})")


def check_libraries(distribution: str = DISTRIBUTION) -> Check:
    """Everything that the distribution requires is installed."""
    try:
        required = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return Check("libraries", "warning", f"{distribution} is not installed here", "run `pip install -e .` in the checkout")
    names = [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in required if "extra ==" not in text]
    found = {name: _version(name) for name in names}
    if missing := [name for name, version in found.items() if not version]:
        return Check("libraries", "error", f"missing: {', '.join(missing)}", f"run `pip install {' '.join(missing)}`")
    return Check("libraries", "ok", ", ".join(f"{name} {version}" for name, version in found.items()))


def check_model(whisper: WhisperSettings) -> Check:
    """The Whisper model is on this machine."""
    path = Path(whisper.model)
    if not (path.is_dir() or whisper.model.startswith(("/", ".", "~"))):
        return _check_named_model(whisper)
    if missing := [name for name in MODEL_FILES if not (path / name).is_file()]:
        return Check("model", "error", f"{path} lacks {', '.join(missing)}", "set whisper.model to a CTranslate2 model or to a name")
    return Check("model", "ok", str(path))


def _check_named_model(whisper: WhisperSettings) -> Check:
    """The Hugging Face cache holds the model."""
    model = whisper.model
    try:
        found, _, detail = probe(MODEL_PROBE, model).partition(" ")
    except ProbeError as error:
        return Check("model", "error", f"faster-whisper does not load: {error}", "install Earshot's libraries anew")
    if found == "here":
        return Check("model", "ok", f"{model} in {detail}")
    if found == "unknown":
        return Check("model", "error", f"there is no model named {model}", f"set whisper.model to one of: {detail}; or to a directory")
    if whisper.download:
        advice = "the first start fetches it; or set whisper.model to a directory"
        return Check("model", "warning", f"{model} is not on this machine yet", advice)
    advice = "set whisper.model to a directory, or whisper.download = true where there is a network"
    return Check("model", "error", f"{model} is not on this machine", advice)


def check_microphone(mic: MicSettings, timeout_s: float = PROBE_TIMEOUT_S) -> Check:
    """The source can be opened, as far as can be told without opening it."""
    if mic.source == "file":
        there = Path(mic.file).is_file()
        return Check("microphone", "ok" if there else "error", f"file {mic.file}", "" if there else "set mic.file to a sound file")
    if mic.source != "device":
        return Check("microphone", "ok", f"none wanted (mic.source is {mic.source})")
    try:
        return Check("microphone", "ok", probe(MICROPHONE_PROBE, str(mic.device), timeout_s=timeout_s))
    except ProbeHung as error:
        return Check("microphone", "error", f"the audio system: {error}", "restart it (PipeWire or PulseAudio)")
    except ProbeError as error:
        advice = 'see mic.device; without a microphone: mic.source = "none" and `supervisor hear FILE`'
        if ctypes.util.find_library("portaudio") is None:
            advice = "install PortAudio, on Debian and Ubuntu: apt install libportaudio2"
        return Check("microphone", "error", str(error), advice)


def check_voice(tts: TtsSettings) -> Check:
    """The engine can speak."""
    if tts.engine == "none":
        return Check("voice", "ok", "none wanted (tts.engine is none)")
    if tts.engine == "openai":
        return _check_voice_server(tts)
    try:
        probe(VOICE_PROBE, tts.engine, tts.voice, tts.piper_command, str(tts.piper_rate_hz), str(tts.timeout_s))
    except ProbeHung as error:
        return Check("voice", "error", f"{tts.engine}: {error}", "see tts.engine")
    except ProbeError as error:
        return Check("voice", "error", str(error), 'or keep it silent with tts.engine = "none"')
    return Check("voice", "ok", tts.engine)


def _check_voice_server(tts: TtsSettings) -> Check:
    import requests

    session = requests.Session()
    session.trust_env = False
    try:
        session.get(f"{tts.url.rstrip('/')}/models", allow_redirects=False, timeout=LLM_ANSWER_S)
    except requests.RequestException:
        return Check("voice", "error", f"nobody answers at {tts.url}", "start the voice server, or set tts.url")
    return Check("voice", "ok", f"{tts.model} at {tts.url}")


def check_loudspeaker(settings: Settings, timeout_s: float = PROBE_TIMEOUT_S) -> Check:
    """There is one, as far as can be told without playing on it."""
    speaker = settings.speaker
    if settings.tts.engine == "none" or speaker.output == "none":
        return Check("loudspeaker", "ok", "none wanted")
    if speaker.output == "file":
        there = Path(speaker.file).parent.is_dir()
        return Check("loudspeaker", "ok" if there else "error", f"file {speaker.file}", "" if there else "set speaker.file")
    try:
        return Check("loudspeaker", "ok", probe(LOUDSPEAKER_PROBE, str(speaker.device), timeout_s=timeout_s))
    except ProbeHung as error:
        return Check("loudspeaker", "error", f"the audio system: {error}", "restart it (PipeWire or PulseAudio)")
    except ProbeError as error:
        advice = 'see speaker.device; without one: tts.engine = "none"'
        if ctypes.util.find_library("portaudio") is None:
            advice = "install PortAudio, on Debian and Ubuntu: apt install libportaudio2"
        return Check("loudspeaker", "warning", str(error), advice)


def check_echo(settings: Settings, timeout_s: float = PROBE_TIMEOUT_S) -> Check:
    """Would the assistant hear itself?"""
    if not settings.hears_itself:
        return Check("echo", "ok", "no microphone hears a loudspeaker")
    try:
        server = None if settings.mic.source == "stdin" else ask_sound_server(timeout_s)  # nobody knows what a pipe is connected to
    except (OSError, ValueError, subprocess.SubprocessError):
        server = None
    return judge_echo(settings.mic.device, settings.speaker.device, settings.speaker.duplex, server)


def ask_sound_server(timeout_s: float = PROBE_TIMEOUT_S) -> Any:
    """What `pactl` lists, of PulseAudio or PipeWire, and its `info`. Raises OSError, ValueError and SubprocessError."""
    environ = {**os.environ, "LC_ALL": "C.UTF-8"}  # our settings of the language are not for it: it is read by us
    said = [
        subprocess.run([*_PACTL, command], capture_output=True, env=environ, timeout=timeout_s, check=True).stdout
        for command in ("list", "info")
    ]
    listed, info = (json.loads(text) for text in said)
    return {**listed, **info}


def judge_echo(microphone: str | int, loudspeaker: str | int, duplex: Literal["half", "full"], server: Any) -> Check:
    """What to do about hearing oneself. `server` is what `ask_sound_server` returns, None where there is no such server."""
    heard = _sound_device(microphone, server, "sources", "default_source_name")
    said = _sound_device(loudspeaker, server, "sinks", "default_sink_name")
    if heard is None or said is None:
        if duplex == "half":
            return Check("echo", "ok", "the microphone is deaf while the voice sounds (speaker.duplex is half)")
        detail = 'speaker.duplex is "full", and whether the echo is cancelled cannot be told'
        return Check("echo", "warning", detail, "with a headset all is well; else see docs/voice.md")
    if all(_ECHO_CANCELLER.search(name) for name in (heard, said)):
        more = "" if duplex == "full" else '; with speaker.duplex = "full" one may speak into an answer'
        return Check("echo", "ok", f"cancelled by the sound server{more}")
    if duplex == "half":
        return Check("echo", "ok", "not cancelled; the microphone is deaf while the voice sounds (speaker.duplex is half)")
    if _HEADSET.search(said):
        return Check("echo", "ok", "a headset: the microphone does not hear it")
    cancelled = [name for name, device in (("the microphone", heard), ("the loudspeaker", said)) if _ECHO_CANCELLER.search(device)]
    detail = 'speaker.duplex is "full", and the microphone hears the loudspeaker: '
    detail += f"only {cancelled[0]} goes through an echo canceller" if cancelled else "no echo canceller is in use"
    return Check("echo", "warning", detail, 'use a headset, cancel the echo (docs/voice.md), or set speaker.duplex = "half"')


def _sound_device(wanted: str | int, server: Any, kind: str, default: str) -> str | None:
    """The names of the device that is meant, as far as they tell what it is; None: not known."""
    if wanted not in SOUND_SERVERS:
        return None if isinstance(wanted, int) or wanted.isdecimal() else wanted
    for device in server[kind] if server else ():
        if device["name"] == server[default]:
            form = device.get("properties", {}).get("device.form_factor", "")
            return f"{device['name']} {device.get('description', '')} {form}"
    return None


def check_llm(llm: LlmSettings, environ: Mapping[str, str]) -> Check:
    """The language model's server answers, and serves the model."""
    if llm.url == REHEARSAL_URL:
        return Check("llm", "ok", "the rehearsal server, which starts with the assistant")
    import requests  # slow to import, and only this check needs it

    key = environ.get(llm.api_key_env, "")
    session = requests.Session()
    session.trust_env = False  # as the bridge does: no proxy of the environment gets to hear of it
    try:
        answer = session.get(
            f"{llm.url.rstrip('/')}/models",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            allow_redirects=False,
            timeout=(llm.connect_timeout_s, LLM_ANSWER_S),
        )
    except requests.ReadTimeout:
        detail = f"{llm.url} took the call and did not answer in {LLM_ANSWER_S:g} s"
        return Check("llm", "error", detail, "it may be loading its model; look at its log")
    except requests.RequestException:
        advice = f"start the server, for example `vllm serve {llm.model or 'MODEL'}`, or set llm.url"
        return Check("llm", "error", f"nobody answers at {llm.url}", advice)
    return _judge_models(llm, answer.status_code, _served(answer))


def _judge_models(llm: LlmSettings, status: int, served: list[str] | None) -> Check:
    """What the answer of `/models` means: its HTTP status and the names that it lists, None for no list."""
    if status in (401, 403):
        return Check("llm", "error", f"{llm.url} wants an API key", f"put it into the environment variable {llm.api_key_env}")
    if served is None:
        detail = f"{llm.url}/models answers with status {status} and lists no models"
        return Check("llm", "error", detail, "set llm.url to an OpenAI-compatible server; it mostly ends in /v1")
    if llm.model in served or (not llm.model and len(served) == 1):
        return Check("llm", "ok", f"{llm.model or served[0]} at {llm.url}")
    names = ", ".join(served)
    detail = f"{llm.url} serves {names or 'no model yet'}, not {llm.model or 'just one model'}"
    return Check("llm", "error", detail, f"set llm.model to one of: {names}" if served else "load a model there")


def check_cores(whisper: WhisperSettings, topology: Topology | None = None) -> Check:
    """Where the workers would run."""
    placement = plan_for(topology or this_machine(), whisper)
    crews = " and ".join(format_cpu_list(crew) for crew in placement.whisper)
    workers = f"{len(placement.whisper)} worker{'s' * (len(placement.whisper) > 1)}"
    detail = f"{workers} on CPUs {crews}, the rest on {format_cpu_list(placement.light)}"
    if placement.notes:
        return Check("cores", "warning", f"{detail}; {'; '.join(placement.notes)}", "see whisper.workers and whisper.threads")
    return Check("cores", "ok", detail)


def check_runtime_dir(instance: InstanceSettings) -> Check:
    """Sockets can be made there: their names are short enough, and the place is writable."""
    addresses = Addresses(Path(instance.runtime_dir), Path(instance.state_dir))
    try:
        addresses.check_length()
    except AddressError as error:
        return Check("runtime dir", "error", str(error), "set EARSHOT_RUNTIME_DIR to a shorter path")
    return _check_writable("runtime dir", addresses.runtime_dir, "EARSHOT_RUNTIME_DIR")


def check_state_dir(instance: InstanceSettings) -> Check:
    """What was said can be kept there."""
    path = Path(instance.state_dir)
    check = _check_writable("state dir", path, "EARSHOT_STATE_DIR")
    free_bytes = shutil.disk_usage(_existing(path)).free
    if check.status == "ok" and free_bytes < FREE_SPACE_BYTES:
        return Check("state dir", "warning", f"{path}: {free_bytes >> 20} MB free", "make room there, or set EARSHOT_STATE_DIR")
    return check


def probe(program: str, *arguments: str, timeout_s: float = PROBE_TIMEOUT_S) -> str:
    """Run a Python program in a process of its own and return what it printed. Raises ProbeError."""
    search = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=os.environ | {"PYTHONPATH": search},
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProbeHung(f"no answer in {timeout_s:g} s") from None
    if done.returncode != 0:
        raise ProbeError((done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1])
    return done.stdout.strip()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _served(answer: Any) -> list[str] | None:
    """The names that a `/models` answer lists; None when it is no such answer."""
    try:
        return [str(entry["id"]) for entry in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return None


def _check_writable(name: str, path: Path, variable: str) -> Check:
    there = _existing(path)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Check(name, "error", f"{path} cannot be written", f"set {variable} to a directory of yours")
    return Check(name, "ok", str(path))


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(here for here in (path, *path.parents) if here.exists())
