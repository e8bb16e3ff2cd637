"""What the doctor says. The audio library and the language model's server are scripted; everything else is real."""

import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Literal

import pytest

from bus.settings import InstanceSettings, LlmSettings, MicSettings, Settings, SpeakerSettings, TtsSettings, WhisperSettings
from supervisor import doctor
from supervisor.doctor import (
    Check,
    ProbeError,
    ProbeHung,
    check_cores,
    check_echo,
    check_libraries,
    check_llm,
    check_loudspeaker,
    check_microphone,
    check_model,
    check_runtime_dir,
    check_state_dir,
    check_voice,
    judge_echo,
    probe,
    run_checks,
)
from supervisor.topology import Topology

FakeAudio = Callable[[str], None]


@pytest.fixture
def fake_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAudio:
    """Puts a `sounddevice` of the given text before the real one."""

    def install(text: str) -> None:
        (tmp_path / "sounddevice.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return install


@contextmanager
def server(status: int, body: object) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that answers everything alike; its base address, and the keys it was sent."""
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers.get("Authorization", ""))
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/v1", keys
        httpd.shutdown()
        thread.join()


DEVICES = """
class default:
    device = (1, 0)
def query_devices():
    return [
        {"name": "Speaker", "max_input_channels": 0, "max_output_channels": 2},
        {"name": "Built-in Audio", "max_input_channels": 2, "max_output_channels": 0},
        {"name": "USB Headset: Mono", "max_input_channels": 1, "max_output_channels": 1},
    ]
"""


def test_the_default_microphone_is_named(fake_audio: FakeAudio) -> None:
    fake_audio(DEVICES)
    assert check_microphone(MicSettings()) == Check("microphone", "ok", "Built-in Audio")


def test_a_microphone_is_found_by_part_of_its_name(fake_audio: FakeAudio) -> None:
    fake_audio(DEVICES)
    assert check_microphone(MicSettings(device="usb headset")).detail == "USB Headset: Mono"


def test_a_microphone_that_is_not_there_is_told_with_those_that_are(fake_audio: FakeAudio) -> None:
    fake_audio(DEVICES)
    check = check_microphone(MicSettings(device="Røde"))
    assert check.status == "error"
    assert "Built-in Audio" in check.detail


def test_an_audio_system_that_hangs_does_not_hang_the_doctor(fake_audio: FakeAudio) -> None:
    fake_audio("import threading; threading.Event().wait()")
    check = check_microphone(MicSettings(), timeout_s=1.0)
    assert (check.status, check.detail) == ("error", "the audio system: no answer in 1 s")


def test_a_machine_without_portaudio_is_told_what_to_install(fake_audio: FakeAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_audio('raise OSError("PortAudio library not found")')
    monkeypatch.setattr("ctypes.util.find_library", lambda _: None)
    check = check_microphone(MicSettings())
    assert (check.status, check.detail) == ("error", "PortAudio library not found")
    assert "libportaudio2" in check.advice


def test_no_audio_system_is_asked_where_no_microphone_is_wanted(fake_audio: FakeAudio) -> None:
    fake_audio("raise OSError")
    assert check_microphone(MicSettings(source="none")).status == "ok"
    assert check_microphone(MicSettings(source="file", file=__file__)).status == "ok"
    assert check_microphone(MicSettings(source="file", file="/nowhere")).status == "error"


def test_the_loudspeaker_is_named_and_one_that_is_not_there_is_no_reason_not_to_start(fake_audio: FakeAudio) -> None:
    fake_audio(DEVICES)
    assert check_loudspeaker(Settings()) == Check("loudspeaker", "ok", "Speaker")
    missing = check_loudspeaker(Settings(speaker=SpeakerSettings(device="Røde")))
    assert missing.status == "warning"
    assert "USB Headset" in missing.detail
    assert check_loudspeaker(Settings(tts=TtsSettings(engine="none"))).detail == "none wanted"
    assert check_loudspeaker(Settings(speaker=SpeakerSettings(output="file", file="/nowhere/said.wav"))).status == "error"


def test_the_built_in_voice_is_tried_and_one_that_it_has_not_is_told() -> None:
    assert check_voice(TtsSettings()) == Check("voice", "ok", "espeak")
    check = check_voice(TtsSettings(voice="nobody"))
    assert (check.status, check.detail[:32]) == ("error", "eSpeak NG has no voice 'nobody';")
    assert check_voice(TtsSettings(engine="none")).status == "ok"


def test_a_voice_server_that_does_not_answer_is_told() -> None:
    with server(200, {"data": []}) as (url, _):
        assert check_voice(TtsSettings(engine="openai", url=url, model="m")).status == "ok"
    assert (
        check_voice(TtsSettings(engine="openai", url="http://127.0.0.1:9/v1", model="m")).detail
        == "nobody answers at http://127.0.0.1:9/v1"
    )


def sound_server(source: str, sink: str, form: str = "") -> dict[str, object]:
    """A PulseAudio with these default devices, and others."""
    devices: list[dict[str, object]] = [
        {"name": name, "properties": {}} for name in ("alsa_input.usb", "alsa_output.pci", "mic.echo-cancel", "spk.echo-cancel")
    ]
    mine = {"name": "mine", "description": sink, "properties": {"device.form_factor": form}}
    return {"sources": devices, "sinks": [*devices, mine], "default_source_name": source, "default_sink_name": sink if not form else "mine"}


PLAIN = sound_server("alsa_input.usb", "alsa_output.pci")
CANCELLED = sound_server("mic.echo-cancel", "spk.echo-cancel")


@pytest.mark.parametrize(
    ("devices", "duplex", "server", "status", "said"),
    [
        (("", ""), "half", PLAIN, "ok", "deaf while the voice sounds"),
        (("", ""), "full", PLAIN, "warning", "no echo canceller is in use"),
        (("", ""), "full", CANCELLED, "ok", "cancelled"),
        (("pulse", "default"), "full", CANCELLED, "ok", "cancelled"),
        (("", ""), "half", CANCELLED, "ok", 'speaker.duplex = "full"'),
        (("", ""), "full", sound_server("mic.echo-cancel", "alsa_output.pci"), "warning", "only the microphone goes through"),
        (("", ""), "full", sound_server("alsa_input.usb", "spk.echo-cancel"), "warning", "only the loudspeaker goes through"),
        (("", ""), "full", sound_server("alsa_input.usb", "Jabra", form="headset"), "ok", "headset"),
        (("Echo Cancellation Source", "Echo Cancellation Sink"), "full", None, "ok", "cancelled"),
        (("USB Mic", "USB Headphones"), "full", None, "ok", "headset"),
        (("", ""), "full", None, "warning", "cannot be told"),
        (("", ""), "half", None, "ok", "deaf while the voice sounds"),
        ((3, "4"), "full", CANCELLED, "warning", "cannot be told"),
        (("", ""), "full", sound_server("gone", "gone"), "warning", "cannot be told"),
    ],
)
def test_whether_the_assistant_would_hear_itself_is_told(
    devices: tuple[str | int, str | int], duplex: Literal["half", "full"], server: object, status: str, said: str
) -> None:
    check = judge_echo(*devices, duplex, server)
    assert check.status == status
    assert said in check.detail
    assert bool(check.advice) == (status != "ok")


def test_the_sound_server_is_asked_through_its_own_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pactl").write_text(f"#!/bin/sh\necho '{json.dumps(CANCELLED)}'\n")
    (tmp_path / "pactl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert check_echo(Settings()).detail.startswith("cancelled")
    (tmp_path / "pactl").write_text("#!/bin/sh\necho Connection refused >&2; exit 1\n")
    assert "deaf while the voice sounds" in check_echo(Settings()).detail
    assert check_echo(Settings(mic=MicSettings(source="none"))).detail == "no microphone hears a loudspeaker"


def test_a_pipe_is_taken_for_a_microphone_of_which_nothing_is_known() -> None:
    piped = MicSettings(source="stdin")
    assert "deaf while the voice sounds" in check_echo(Settings(mic=piped)).detail
    check = check_echo(Settings(mic=piped, speaker=SpeakerSettings(duplex="full")))
    assert (check.status, "cannot be told" in check.detail) == ("warning", True)


def test_a_server_with_the_model_is_fine_and_gets_the_key() -> None:
    with server(200, {"data": [{"id": "mistral"}, {"id": "llama"}]}) as (url, keys):
        check = check_llm(LlmSettings(url=url, model="llama"), {"EARSHOT_LLM_API_KEY": "secret"})
    assert check == Check("llm", "ok", f"llama at {url}")
    assert keys == ["Bearer secret"]


def test_a_server_without_the_model_is_told_with_what_it_serves() -> None:
    with server(200, {"data": [{"id": "mistral"}]}) as (url, _):
        check = check_llm(LlmSettings(url=url, model="llama"), {})
    assert (check.status, check.advice) == ("error", "set llm.model to one of: mistral")


def test_an_empty_model_name_means_the_only_one_that_is_served() -> None:
    with server(200, {"data": [{"id": "mistral"}]}) as (url, _):
        assert check_llm(LlmSettings(url=url, model=""), {}).status == "ok"
    with server(200, {"data": [{"id": "a"}, {"id": "b"}]}) as (url, _):
        assert check_llm(LlmSettings(url=url, model=""), {}).status == "error"


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (401, {"error": "no key"}, "EARSHOT_LLM_API_KEY"),
        (404, "<html>not here</html>", "OpenAI-compatible"),
        (200, "<html>welcome</html>", "OpenAI-compatible"),
        (200, {"data": "nonsense"}, "OpenAI-compatible"),
        (200, ["nonsense"], "OpenAI-compatible"),
        (200, {"data": []}, "load a model"),
    ],
)
def test_a_server_that_lists_no_models_is_an_error_with_advice(status: int, body: object, advice: str) -> None:
    with server(status, body) as (url, _):
        check = check_llm(LlmSettings(url=url), {})
    assert check.status == "error"
    assert advice in check.advice


def test_a_server_that_is_not_there_is_told() -> None:
    with server(200, {}) as (url, _):
        pass
    check = check_llm(LlmSettings(url=url), {"HTTP_PROXY": "http://127.0.0.1:1"})
    assert (check.status, check.detail) == ("error", f"nobody answers at {url}")


def test_the_rehearsal_server_needs_no_check() -> None:
    assert check_llm(LlmSettings(url="rehearsal"), {}).status == "ok"


def test_a_model_directory_is_fine_when_it_is_whole(tmp_path: Path) -> None:
    for name in ("model.bin", "config.json", "tokenizer.json"):
        assert check_model(WhisperSettings(model=str(tmp_path))).status == "error"
        (tmp_path / name).touch()
    assert check_model(WhisperSettings(model=str(tmp_path))) == Check("model", "ok", str(tmp_path))


def test_a_model_that_is_not_here_is_a_warning_only_where_it_may_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert check_model(WhisperSettings(model="tiny.en")).status == "warning"
    assert check_model(WhisperSettings(model="tiny.en", download=False)).status == "error"
    unknown = check_model(WhisperSettings(model="tinny.en"))
    assert unknown.status == "error"
    assert "tiny.en" in unknown.advice


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["pytest>=8", "no-such-thing!=1.0; python_version > '3'", "other[speed]>1", "unwanted; extra == 'dev'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: wanted)
    check = check_libraries()
    assert (check.status, check.detail) == ("error", "missing: no-such-thing, other")


def test_an_installation_that_is_whole_names_its_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.requires", lambda _: ["pytest>=8"])
    assert check_libraries() == Check("libraries", "ok", f"pytest {pytest.__version__}")


def test_the_plan_for_the_cores_is_told() -> None:
    topology = Topology((), (0, 1, 2, 3))
    assert check_cores(WhisperSettings(), topology) == Check("cores", "ok", "1 worker on CPUs 1-3, the rest on 0")
    assert check_cores(WhisperSettings(threads=9), topology).status == "warning"


def test_directories_that_can_be_made_are_fine(tmp_path: Path) -> None:
    instance = InstanceSettings(runtime_dir=str(tmp_path / "a" / "run"), state_dir=str(tmp_path / "b"))
    assert check_runtime_dir(instance).status == check_state_dir(instance).status == "ok"
    assert list(tmp_path.iterdir()) == [], "the doctor makes nothing"


def test_a_directory_below_a_file_is_told() -> None:
    with tempfile.NamedTemporaryFile(prefix="ear") as file:  # a path short enough for socket names
        instance = InstanceSettings(runtime_dir=f"{file.name}/run", state_dir=file.name)
        assert check_runtime_dir(instance).advice == "set EARSHOT_RUNTIME_DIR to a directory of yours"
        assert check_state_dir(instance).advice == "set EARSHOT_STATE_DIR to a directory of yours"


def test_a_runtime_directory_too_long_for_socket_names_is_told() -> None:
    check = check_runtime_dir(InstanceSettings(runtime_dir="/tmp/" + "x" * 100, state_dir="/tmp"))
    assert check.status == "error"
    assert "107 bytes" in check.detail


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FREE_SPACE_BYTES", 1 << 80)
    assert check_state_dir(InstanceSettings(state_dir=str(tmp_path))).status == "warning"


def test_a_probe_that_fails_tells_its_last_line() -> None:
    with pytest.raises(ProbeError, match=r"^no luck$"):
        probe("import sys; sys.exit('first\\nno luck')")
    with pytest.raises(ProbeError, match="status -9"):
        probe("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(ProbeHung):
        probe("import threading; threading.Event().wait()", timeout_s=0.5)


def test_a_check_that_breaks_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Check:
        raise RuntimeError("oops")

    monkeypatch.setattr(doctor, "check_python", broken)
    settings = Settings(
        instance=InstanceSettings(runtime_dir=str(tmp_path), state_dir=str(tmp_path)),
        mic=MicSettings(source="none"),
        whisper=WhisperSettings(model=str(tmp_path)),
        llm=LlmSettings(url="rehearsal"),
    )
    checks = list(run_checks(settings, os.environ))
    assert checks[0] == Check("python", "warning", "could not be checked: RuntimeError: oops")
    assert [check.name for check in checks] == [
        "python",
        "libraries",
        "model",
        "microphone",
        "llm",
        "voice",
        "loudspeaker",
        "echo",
        "cores",
        "runtime dir",
        "state dir",
    ]
