"""Speaking and hearing at the same time, with real devices: one may speak into an answer, and the assistant never answers itself."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import soundfile

from bus.limits import SAMPLE_RATE_HZ
from bus.messages.turn import TurnFinished, TurnRecord
from bus.messages.voice import VoiceCut
from tests.e2e.assistant import PATIENT, SPEECH, Events, assistant, words
from tests.fakes.virtual_loudspeaker import RATE_HZ, listening, tone
from tests.fakes.virtual_microphone import virtual_microphone
from tests.fakes.voice_server import VoiceServer, wav_of
from tests.waiting import wait_until

DEVICES = ("mic.source=device", "mic.device=pulse", "tts.engine=openai", "tts.model=m", "speaker.output=device", "speaker.device=pulse")
ANSWERS = int(os.environ.get("EARSHOT_TEST_ANSWERS", "2"))
"""How many answers the assistant gives to a microphone that hears each of them, and how many are interrupted."""
TONE_S = 9.0
QUIET = 100
BREAK_NS = 500_000_000
"""No answer follows on an interrupted one before that."""
SILENT_MS = 1_500
"""Ten times as long as it may take on a machine that has nothing else to do."""


def spoken(name: str) -> bytes:
    return bytes(soundfile.read(SPEECH / name, dtype="int16")[0].tobytes())


def next_turn(events: Events) -> TurnRecord:
    finished = events.wait_for("turn.finished").body
    assert isinstance(finished, TurnFinished)
    return finished.record


def test_a_microphone_that_hears_the_loudspeaker_does_not_have_the_assistant_answer_itself() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="ear") as directory,
        virtual_microphone(Path(directory)) as audio,
        VoiceServer().running() as voice,
    ):
        voice.body = wav_of(spoken("joke-slt.wav"))  # whatever it says sounds like a question
        audio.control("load-module", "module-remap-source", "master=spk.monitor", "source_name=room")
        audio.control("set-default-source", "room")
        with assistant(*DEVICES, PATIENT, f"tts.url={voice.url}") as running, running.events("turn.finished") as events:
            for _ in range(ANSWERS + 1):  # an answer to itself would come before that to the next question
                audio.play(spoken("sum-rms.wav"), SAMPLE_RATE_HZ)
                turn = next_turn(events)
                assert words(turn.transcript) == words("what is two plus three")
                assert (turn.state, turn.detail) == ("answered", "")


def test_a_replay_does_not_hear_the_answers_that_the_microphone_was_deaf_for(tmp_path: Path) -> None:
    recording = str(tmp_path / "room.mcap")
    with (
        tempfile.TemporaryDirectory(prefix="ear") as directory,
        virtual_microphone(Path(directory)) as audio,
        VoiceServer().running() as voice,
    ):
        voice.body = wav_of(spoken("joke-slt.wav"))
        audio.control("load-module", "module-remap-source", "master=spk.monitor", "source_name=room")
        audio.control("set-default-source", "room")
        with assistant(*DEVICES, PATIENT, f"tts.url={voice.url}") as running, running.events("turn.finished") as events:
            running.run("record", recording, "--detach")
            for _ in range(2):
                audio.play(spoken("sum-rms.wav"), SAMPLE_RATE_HZ)
                next_turn(events)
            running.run("record", "stop")
            found = [json.loads(line) for line in running.run("replay", recording, "--json").stdout.splitlines()]
    assert [(stretch["differs"], words(stretch["after"]["transcript"])) for stretch in found] == [([], words("what is two plus three"))] * 2


def test_who_speaks_into_an_answer_silences_it_and_is_answered() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="ear") as directory,
        virtual_microphone(Path(directory)) as audio,
        VoiceServer().running() as voice,
        assistant(*DEVICES, PATIENT, f"tts.url={voice.url}", "speaker.duplex=full") as running,
        running.events("voice.started", "turn.finished") as events,
    ):
        audio.say(spoken("joke-slt.wav"))
        events.wait_for("voice.started")
        audio.say(spoken("sum-rms.wav"))
        joke, answer = next_turn(events), next_turn(events)
    assert "interrupted" in joke.detail
    assert words(answer.transcript) == words("what is two plus three")
    assert (answer.state, answer.detail) == ("answered", "")
    assert "five" in answer.reply or not joke.reply, (joke, answer)  # of which no word was heard, that is asked again with the next one


def last_before_break(loud_ns: Sequence[int], since_ns: int) -> int:
    """When it was last loud before the first break from about that time on; 0: there was none yet."""
    times_ns = [*(at_ns for at_ns in loud_ns if at_ns > since_ns - BREAK_NS), time.monotonic_ns()]
    return next((at_ns for at_ns, next_ns in pairwise(times_ns) if next_ns - at_ns > BREAK_NS), 0)


def test_the_loudspeaker_is_silent_soon_after_speech_is_confirmed_time_and_again() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="ear") as directory,
        virtual_microphone(Path(directory)) as audio,
        VoiceServer().running() as voice,
        listening(QUIET) as loudspeaker,
    ):
        voice.body = wav_of(tone(TONE_S), RATE_HZ)
        topics = ("voice.started", "voice.playing", "speech.confirmed", "voice.cut")
        options = (*DEVICES, PATIENT, f"tts.url={voice.url}", "speaker.duplex=full")
        with assistant(*options) as running, running.events(*topics) as events:
            audio.say(spoken("joke-slt.wav"))
            silent_ms = []
            for _ in range(ANSWERS):
                events.wait_for("voice.started")
                events.wait_for("voice.playing")  # for a second by now
                audio.say(spoken("joke-slt.wav"))  # into the answer, and answered next
                confirmed_ns = events.wait_for("speech.confirmed").envelope.mono_ns
                cut = events.wait_for("voice.cut").body
                assert isinstance(cut, VoiceCut)
                assert cut.cause == "user"
                wait_until(partial(last_before_break, loudspeaker.loud_ns, confirmed_ns))
                silent_ms.append((last_before_break(loudspeaker.loud_ns, confirmed_ns) - confirmed_ns) / 1e6)
    print(f"silent after {', '.join(f'{each_ms:.0f}' for each_ms in silent_ms)} ms, at the other end of the sound server")
    assert max(silent_ms) < SILENT_MS
