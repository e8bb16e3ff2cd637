"""Speaking and hearing at the same time, with real devices: one may speak into an answer, and the assistant never answers itself."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import soundfile

from bus.limits import SAMPLE_RATE_HZ
from bus.messages.turn import TurnFinished, TurnRecord
from tests.e2e.assistant import PATIENT, SPEECH, Events, assistant, words
from tests.fakes.virtual_microphone import virtual_microphone
from tests.fakes.voice_server import VoiceServer, wav_of

DEVICES = ("mic.source=device", "mic.device=pulse", "tts.engine=openai", "tts.model=m", "speaker.output=device", "speaker.device=pulse")
ANSWERS = int(os.environ.get("EARSHOT_TEST_ANSWERS", "2"))
"""How many answers the assistant gives to a microphone that hears each of them."""


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
        with assistant(*DEVICES, f"tts.url={voice.url}") as running, running.events("turn.finished") as events:
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
