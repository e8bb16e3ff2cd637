"""The real ear and the real mouth: PortAudio on a PulseAudio whose microphone is spoken into and whose loudspeaker is listened to, through
the whole assistant, while devices are unplugged and the sound server stalls or dies. The same processes go on through all of it.

The voice is a server whose sound depends on the words alone, so that what came out of the loudspeaker can be compared with it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from actors.tts.speech import Key, Speech
from bus.limits import SAMPLE_RATE_HZ
from bus.messages.audio import AudioGap
from bus.messages.base import Body
from bus.messages.turn import TurnFinished, TurnRecord
from tests.e2e.assistant import PATIENT, SPEECH, Assistant, Events, assistant, words
from tests.fakes.virtual_microphone import RECORDING_RATE_HZ, VirtualMicrophone, virtual_microphone
from tests.fakes.voice_server import RATE_HZ, VoiceServer, sound_of
from tests.waiting import wait_until

MICROPHONE = ("mic.source=device", "mic.device=pulse")
LOUDSPEAKER = ("tts.engine=openai", "tts.model=m", "speaker.output=device", "speaker.device=pulse")
SUM, JOKE = "sum-rms.wav", "joke-slt.wav"
PIECE_S = 0.1
ALIKE = 0.8
"""Correlation, at least, of a piece that was heard. It was 0.9 and more, after two conversions; of one that was not heard, 0.5 at most."""
MOST = 0.6
"""Share of an answer that is to be heard, at least. It is all of it, unless the machine is too busy to serve a sound card in time."""

Sound = np.ndarray[Any, np.dtype[np.float64]]
Room = tuple[VirtualMicrophone, Assistant]


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    """One assistant for all tests here: each leaves it as well as it was."""
    with (
        tempfile.TemporaryDirectory(prefix="ear") as directory,
        virtual_microphone(Path(directory)) as audio,
        VoiceServer().running() as voice,
        assistant(*MICROPHONE, *LOUDSPEAKER, PATIENT, f"tts.url={voice.url}") as running,
    ):
        yield audio, running


def spoken(name: str) -> bytes:
    return bytes(soundfile.read(SPEECH / name, dtype="int16")[0].tobytes())


def synthesised(reply: str) -> list[bytes]:
    """The sound of a reply, clause by clause."""
    speech = Speech(Key("turn", 1), "mic", "en", 0)
    speech.whole(reply)
    return [sound_of(clause.text) for clause in speech.clauses]


def share_heard(clauses: list[bytes], recording: Path) -> float:
    """How much of a sound is in a recording, by pieces of PIECE_S."""
    assert RATE_HZ == RECORDING_RATE_HZ
    sound, heard = (middle_band(np.frombuffer(pcm, "<i2").astype(np.float64)) for pcm in (b"".join(clauses), recording.read_bytes()))
    length = round(PIECE_S * RATE_HZ)
    pieces = [sound[begin : begin + length] for begin in range(0, len(sound) - length, length)]
    places = len(heard) - length + 1
    if places < 1:
        return 0.0
    energy = np.concatenate(([0.0], np.cumsum(heard**2)))
    norms = np.sqrt(np.maximum(energy[length:][:places] - energy[:places], 1.0))
    size = 1 << (len(heard) + length).bit_length()
    spectrum = np.fft.rfft(heard, size)

    def likeness(piece: Sound) -> float:
        products = np.fft.irfft(spectrum * np.conj(np.fft.rfft(piece, size)), size)[:places]
        return float(np.max(products / norms) / np.sqrt(np.sum(piece**2)))

    return sum(likeness(piece) > ALIKE for piece in pieces) / len(pieces)


def middle_band(sound: Sound) -> Sound:
    """Around 1 kHz: without its mean, and so slow that half a sample of delay makes no difference."""
    slow = np.convolve(sound, np.ones(8))
    return slow[8:] - slow[:-8]


def is_well(running: Assistant) -> bool:
    """Whether both, microphone and loudspeaker, can be used."""
    heard, said = running.detail("mic"), running.detail("speaker")
    return (not heard or "is there after" in heard) and said in ("", "it can be heard")


def wait_until_told(running: Assistant, **parts: str) -> None:
    """What `status` says below its table has these parts, by actor."""
    running.wait_until(lambda: all(part in running.detail(actor) for actor, part in parts.items()), interval_s=0.1)


def next_turn(events: Events) -> TurnRecord:
    finished = events.wait_for("turn.finished").body
    assert isinstance(finished, TurnFinished)
    return finished.record


def assert_is_answered_aloud(room: Room, question: str = SUM) -> None:
    audio, running = room
    with running.events("turn.finished") as events, audio.recording() as recording:
        audio.say(spoken(question))
        turn = next_turn(events)
        assert (turn.state, turn.detail) == ("answered", ""), turn
        wait_until(lambda: share_heard(synthesised(turn.reply), recording) > MOST, interval_s=0.2)


@contextmanager
def answer_begun(room: Room) -> Iterator[None]:
    """An answer of some seconds is being heard; at the end its turn is over, and nothing of it sounds."""
    audio, running = room
    with running.events("voice.started", "turn.finished") as events:
        audio.say(spoken(JOKE))
        events.wait_for("voice.started")
        yield
        next_turn(events)


def is_longer_than(pcm: bytes, gap: Body) -> bool:
    assert isinstance(gap, AudioGap)
    return gap.samples > len(pcm) / 2


def restarts(running: Assistant) -> dict[str, int]:
    status = running.status()
    return {name: status[name]["restarts"] for name in ("mic", "speaker", "tts")}


@pytest.fixture(autouse=True)
def _nothing_is_restarted(room: Room) -> Iterator[None]:
    """Whatever happens to the sound, the processes stay."""
    yield
    assert set(restarts(room[1]).values()) == {0}


def test_a_question_is_answered_aloud_and_what_is_heard_is_what_was_synthesised(room: Room) -> None:
    assert_is_answered_aloud(room)
    assert_is_answered_aloud(room, JOKE)


def test_a_microphone_unplugged_in_mid_sentence_is_told_and_heard_again_and_never_the_loudspeaker_in_its_place(room: Room) -> None:
    audio, running = room
    already = len(running.remembered())
    with running.events("speech.started", "audio.gap") as events:
        audio.say(spoken(SUM))
        events.wait_for("speech.started")
        audio.unplug_microphone()
        wait_until_told(running, mic="deaf until there is one")
        audio.play(spoken(JOKE), SAMPLE_RATE_HZ)  # the monitor of the loudspeaker is the only source that is left
        audio.plug_in_microphone()
        while not is_longer_than(spoken(JOKE), events.wait_for("audio.gap", sender="mic", cause="device").body):
            pass  # a busy machine may have lost some frames before
    running.wait_until(lambda: is_well(running), interval_s=0.1)
    audio.say(spoken(SUM))
    running.wait_until(lambda: any(words(turn["transcript"])[-3:] == ["two", "plus", "three"] for turn in running.remembered()[already:]))
    assert not any("joke" in turn["transcript"].lower() for turn in running.remembered()[already:])


def test_a_loudspeaker_unplugged_in_mid_answer_plays_the_rest_once_it_is_there_again(room: Room) -> None:
    audio, running = room
    with running.events("voice.started", "turn.finished") as events:
        audio.say(spoken(JOKE))
        events.wait_for("voice.started")
        audio.unplug_loudspeaker()
        wait_until_told(running, speaker="the loudspeaker")
        audio.plug_in_loudspeaker()
        with audio.recording() as recording:
            turn = next_turn(events)
            if turn.detail == "":
                wait_until(lambda: share_heard(synthesised(turn.reply)[-1:], recording) > MOST, interval_s=0.2)
            else:  # the machine was so busy that patience came to its end
                assert turn.detail.startswith("not spoken: the loudspeaker"), turn
    running.wait_until(lambda: is_well(running), interval_s=0.1)
    assert_is_answered_aloud(room)


def test_a_sound_server_that_stalls_in_mid_answer_is_told_while_it_does_and_the_next_sentence_is_heard(room: Room) -> None:
    audio, running = room
    with answer_begun(room):
        audio.freeze()
        try:
            wait_until_told(running, mic="stopped sending", speaker="went away")
        finally:
            audio.thaw()
        running.wait_until(lambda: is_well(running), interval_s=0.1)
    assert_is_answered_aloud(room)


def test_a_sound_server_that_is_killed_in_mid_answer_and_started_again_is_used_by_the_same_processes(room: Room) -> None:
    audio, running = room
    with answer_begun(room):
        audio.kill()
        wait_until_told(running, mic="microphone", speaker="the loudspeaker")
        audio.start()
        running.wait_until(lambda: is_well(running), interval_s=0.1)
    assert_is_answered_aloud(room)
