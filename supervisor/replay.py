"""`supervisor replay FILE`: what was recorded is heard again by an assistant of its own, and compared stage by stage.

The sound goes through the same programs, with the configuration that was recorded (`--set` changes it), in directories of their own.
Their flight recorder tells what came of it. Nothing of the running assistant is touched.
"""

from __future__ import annotations

import json
import os
import wave
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from bus.addresses import Addresses
from bus.errors import EarshotError
from bus.flight import forget_flight
from bus.limits import SAMPLE_BYTES, SAMPLE_RATE_HZ
from bus.recording import Recording, read_flight
from bus.replays import own_place, wipe
from bus.settings import REHEARSAL_URL, Settings
from supervisor import start
from supervisor.settings import load
from supervisor.takes import Difference, Take, compare, outcomes, takes

KEEP_S: Final = 604_800
KEEP_MB: Final = 100_000
_OWN_PLACE: Final = ("EARSHOT_RUNTIME_DIR", "EARSHOT_STATE_DIR")


@dataclass(frozen=True)
class Replayed:
    """One take and its replay."""

    take: Take
    differences: list[Difference]
    """One for each stretch of speech, in order, whether it differs or not."""


def replay(
    addresses: Addresses,
    file: Path,
    *,
    config: Sequence[Path] = (),
    sets: Sequence[str] = (),
    pace: str = "real",
    stub_llm: bool = False,
    show: bool = False,
) -> list[Replayed]:
    """Have the sound of a recording heard again. With `stub_llm` the replies are those of the recording; with `show` the
    conversation is printed as it goes. Meanwhile the sound is below the state directory of `addresses`.

    Raise EarshotError for a recording that cannot be replayed, and when the assistant fails.
    """
    recording = Recording(file)
    recorded = _settings_of(recording)
    before = takes(recording, half_duplex_stream(recorded))
    if not before:
        raise EarshotError(f"there is no sound in {file}: it was recorded with --no-sound, or nothing was heard meanwhile")
    if not recording.about.with_words and stub_llm:
        raise EarshotError(f"there are no replies in {file}: it was recorded without words, so leave --stub out")
    replayed = []
    with own_place(addresses.state_dir) as place:
        script = _write_script(place.state_dir / "script.json", before) if stub_llm else None
        for number, take in enumerate(before):
            sound = place.state_dir / f"{number}.wav"
            write_wav(sound, take.pcm)
            settings = private_settings(place, sound, take.stream, pace, recorded, config=config, sets=sets, script=script)
            after = _hear(settings, show=show)
            if not recording.about.with_words:
                _drop_words(take)
            replayed.append(Replayed(take, compare(take.utterances, after)))
            wipe(sound)
    return replayed


def _hear(settings: Settings, *, show: bool) -> dict[int, Any]:
    addresses = start.addresses_of(settings)
    start.run(settings, console=show)
    heard = outcomes(read_flight(addresses.flight_dir, 0))
    forget_flight(addresses)
    return heard


def private_settings(
    place: Addresses,
    sound: Path,
    stream: str,
    pace: str,
    recorded: dict[str, Any],
    *,
    config: Sequence[Path] = (),
    sets: Sequence[str] = (),
    script: Path | None = None,
) -> Settings:
    """A recorded configuration, changed by `config` and `sets`, for an assistant at `place` that hears one file and ends.

    It listens at no port that the running assistant may have, and is not heard: an answer takes its time, or with pace `fast` none, and
    no file of the user's is added to. Raise SettingsError when it does not fit this version.
    """
    values: dict[str, Any] = {
        "instance.runtime_dir": str(place.runtime_dir),
        "instance.state_dir": str(place.state_dir),
        "mic.source": "file",
        "mic.file": str(sound),
        "mic.stream": stream,
        "mic.pace": pace,
        "speaker.output": "none",
        "speaker.pace": pace,
        "memory.database": "",
        "launcher.until": "source-ends",
        "recorder.flight": "events",
        "recorder.keep_s": KEEP_S,
        "recorder.max_mb": KEEP_MB,
        "console.show_timings": False,
        "metrics.port": 0,
        "network.listen": "",
        "rehearsal_llm.port": 0,
    }
    if script is not None:
        values |= {
            "rehearsal_llm.enabled": True,
            "rehearsal_llm.script": str(script),
            "rehearsal_llm.model": "recorded",
        }
        values |= {"llm.url": REHEARSAL_URL, "llm.model": "recorded"}
    own = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    environ = {name: value for name, value in os.environ.items() if name not in _OWN_PLACE}
    return load(config, [*sets, *own], environ, recorded=recorded)


def _settings_of(recording: Recording) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(recording.about.settings)
    except ValueError:
        raise EarshotError(f"{recording.path} cannot be replayed: the configuration in it is damaged") from None
    return found


def half_duplex_stream(recorded: dict[str, Any]) -> str:
    """The stream whose segmenter was deaf while the voice sounded; empty where there was none. Settings of another version have none."""
    try:
        settings = msgspec.convert(recorded, Settings)
    except msgspec.ValidationError:
        return ""
    return settings.mic.stream if settings.hears_itself and settings.speaker.duplex == "half" else ""


def write_wav(path: Path, pcm: bytes | bytearray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(pcm)


def _write_script(path: Path, before: Iterable[Take]) -> Path:
    """The questions of a recording with their answers, in order."""
    said = [
        {"user": utterance.prompt[-1][1], "reply": utterance.reply}
        for take in before
        for _, utterance in sorted(take.utterances.items())
        if utterance.prompt and utterance.reply
    ]
    path.write_text(json.dumps(said))
    return path


def _drop_words(take: Take) -> None:
    for utterance in take.utterances.values():
        utterance.transcript = utterance.prompt = utterance.reply = None
