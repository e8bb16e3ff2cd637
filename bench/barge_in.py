"""How soon the voice is silent when somebody speaks into an answer: whole turns at real pace, with the built-in voice.

The sentences of the latency set follow so closely on each other that most are spoken into the answer to the one before. The loudspeaker
writes what was heard into a WAV, and a thread of ours notes when that grew last.
"""

from __future__ import annotations

import tempfile
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import zmq

from bench.instance import READY_S, BenchError, actors, assistant, running
from bench.listener import Hearing, Listener
from bench.result import Result, at_most, percentile
from bench.spoken import PLAIN, REACH_SAMPLES, Sentence, spoken_files
from bus.addresses import Addresses
from bus.codec import Stamp, decode
from bus.limits import MAX_VOICE_BYTES
from bus.messages.base import Body
from bus.messages.speech import SpeechConfirmed
from bus.messages.voice import StopCause, VoiceAsk, VoiceCut, VoiceFinished, VoiceProgress, VoiceSound, VoiceStarted, VoiceState, VoiceStop
from supervisor.modules import command

GOAL_MS = 150.0
TOPICS = (SpeechConfirmed.topic, VoiceStarted.topic, VoiceCut.topic, VoiceFinished.topic)
STOPS = 20
RATE_HZ = 22_050
SOUNDS_NS = 300_000_000
"""An answer has been heard for so long when the speaker alone is told to stop."""
ASK_MS = 10
LOOK_S = 0.002


@dataclass
class Answer:
    """One that was heard. Times are monotonic."""

    turn: str
    begun_ns: int
    silent_ns: int | None = None
    """When its last sample was heard."""
    told_ns: int | None = None
    """When the speaker told that."""
    end: StopCause | Literal["", "finished"] = ""
    """Why it ended; empty while it goes on."""


@dataclass(frozen=True)
class Interruption:
    """Somebody spoke into an answer. Times are monotonic."""

    begun_ns: int
    """When the first sample of his speech was heard."""
    confirmed_ns: int
    """When the segmenter told that it was speech."""
    silent_ns: int | None
    """When the last sample of the answer was heard, as the speaker tells; None: it went on."""
    written_ns: int
    """When the loudspeaker's file grew last before the next answer."""


def measure() -> list[Result]:
    """From confirmed speech to silence, in the assistant and in the speaker alone; and from the first sample of speech."""
    (spoken,) = (file for file in spoken_files() if all(sentence.kind == PLAIN for sentence in file.sentences))
    with tempfile.TemporaryDirectory() as directory:
        wav = Path(directory) / "said.wav"
        voice = ("tts.engine=espeak", "speaker.output=file", f"speaker.file={wav}", "speaker.duplex=full")
        with assistant(*voice) as running, Listener(running, TOPICS) as listener, growth(wav) as grown_ns:
            heard = listener.hear(spoken.path)
    found = interruptions(heard, spoken.sentences, grown_ns)
    if not any(one.silent_ns for one in found):
        raise BenchError(f"of {len(found)} answers into which somebody spoke, none was cut")
    return results(found, _alone_ms())


def results(found: Sequence[Interruption], alone_ms: Sequence[float]) -> list[Result]:
    """The figures of these interruptions, beside those of the speaker alone."""
    cut = [one for one in found if one.silent_ns is not None]
    silence_ms = [_later_ms(one.confirmed_ns, one.silent_ns) for one in cut]
    written_ms = [_later_ms(one.confirmed_ns, one.written_ns) for one in cut]
    felt_ms = [_later_ms(one.begun_ns, one.silent_ns) for one in cut]
    about = {
        "silence": f"from confirmed speech to the last sample of the answer, in {len(cut)} answers into which somebody spoke; the baseline "
        f"is the speaker alone, from when it is told to stop ({len(alone_ms)} times); the delay of a real device comes on top of it",
        "silence, written": "the same to the last time that the WAV grew which the loudspeaker writes, which is up to 20 ms later",
        "silence, felt": "from the first sample of the user's speech to the last of the answer",
    }
    figures: list[Result] = []
    for name, values, goal_ms, baseline in (
        ("silence", silence_ms, GOAL_MS, alone_ms),
        ("silence, written", written_ms, GOAL_MS, None),
        ("silence, felt", felt_ms, None, None),
    ):
        for percent in (50, 99):
            value = percentile(values, percent)
            beside = percentile(baseline, percent) if baseline else None
            figures.append(
                Result(
                    name=f"{name} p{percent}",
                    value=value,
                    unit="ms",
                    meaning=about[name] if percent == 50 else "",
                    baseline=beside,
                    ratio=value / beside if beside else None,
                    goal=f"≤ {goal_ms:g} ms" if goal_ms else "",
                    ok=value <= goal_ms if goal_ms else None,
                )
            )
    went_on = len(found) - len(cut)
    about_all = f"answers that were heard on although somebody spoke into them, of {len(found)}"
    return [*figures, at_most(0, name="talked over", value=went_on, unit="answers", meaning=about_all)]


def _later_ms(since_ns: int, until_ns: int | None) -> float:
    assert until_ns is not None
    return max(0, until_ns - since_ns) / 1e6


# -- the assistant ------------------------------------------------------------------------------------------------


def interruptions(heard: Hearing, sentences: Sequence[Sentence], grown_ns: Sequence[int]) -> list[Interruption]:
    """All speech that was confirmed while an answer was heard, but for answers that came to their own end as soon as one may be cut.

    `grown_ns`: when the loudspeaker's file grew, in order.
    """
    answers, begins = answers_in(heard), [sentence.begin - REACH_SAMPLES for sentence in sentences]
    found: dict[int, Interruption] = {}
    for message in heard.messages:
        if not isinstance(message.body, SpeechConfirmed):
            continue
        confirmed_ns, number = message.envelope.mono_ns, bisect_right(begins, message.body.first_sample) - 1
        sounding = [one for one in answers if one.begun_ns <= confirmed_ns and (one.told_ns is None or one.told_ns > confirmed_ns)]
        if not sounding or number in found:  # a sentence in two pieces interrupts once
            continue
        answer = sounding[-1]
        if answer.end == "finished" and answer.silent_ns is not None and answer.silent_ns - confirmed_ns <= GOAL_MS * 1e6:
            continue
        after = answers[answers.index(answer) + 1 :]
        writes = bisect_left(grown_ns, after[0].begun_ns) if after else len(grown_ns)
        if not writes:
            raise BenchError("an answer is said to have been heard, and nothing of it was written")
        found[number] = Interruption(
            begun_ns=heard.at_ns(sentences[max(0, number)].begin),
            confirmed_ns=confirmed_ns,
            silent_ns=answer.silent_ns if answer.end == "user" else None,
            written_ns=grown_ns[writes - 1],
        )
    return list(found.values())


def answers_in(heard: Hearing) -> list[Answer]:
    """What the speaker told, in order."""
    found: list[Answer] = []
    for message in heard.messages:
        turn, told_ns = message.envelope.turn, message.envelope.mono_ns
        match message.body:
            case VoiceStarted(at_ns=at_ns):
                found.append(Answer(turn, at_ns))
            case VoiceCut(at_ns=at_ns, cause=cause) if found and found[-1].turn == turn:
                found[-1].silent_ns, found[-1].told_ns, found[-1].end = at_ns, told_ns, cause
            case VoiceFinished(at_ns=at_ns) if found and found[-1].turn == turn:
                found[-1].silent_ns, found[-1].told_ns, found[-1].end = at_ns, told_ns, "finished"
    return found


@contextmanager
def growth(file: Path) -> Iterator[list[int]]:
    """Note when a file grows, ns, monotonic, to LOOK_S."""
    times_ns: list[int] = []
    is_over = threading.Event()

    def look() -> None:
        size_bytes = 0
        while not is_over.wait(LOOK_S):
            if file.exists() and (found := file.stat().st_size) > size_bytes:
                size_bytes = found
                times_ns.append(time.monotonic_ns())

    thread = threading.Thread(target=look, name="growth", daemon=True)
    thread.start()
    try:
        yield times_ns
    finally:
        is_over.set()
        thread.join()


# -- the speaker alone --------------------------------------------------------------------------------------------


def _alone_ms() -> list[float]:
    """From the order to stop to the last sample that is heard, again and again."""
    with actors("broker") as addresses:
        wav = addresses.state_dir / "said.wav"
        argv = command("actors", "speaker", "--set", 'speaker.output="file"', "--set", f'speaker.file="{wav}"')
        with running(argv, addresses), _Voice(addresses) as voice:
            return [voice.stopped_after_ms(f"bench-1-{number}") for number in range(STOPS)]


class _Voice:
    """In the place of `tts`: has a speaker play something, and stops it."""

    def __init__(self, addresses: Addresses) -> None:
        self._stamp = Stamp("bench", "1")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.connect(addresses.voice)

    def __enter__(self) -> _Voice:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.destroy(linger=0)

    def stopped_after_ms(self, turn: str) -> float:
        self._send(VoiceSound(attempt=1, clause=0, first_sample=0, rate_hz=RATE_HZ), turn, b"\0\x10" * (MAX_VOICE_BYTES // 2))
        playing = self._progress(turn, "playing")
        while not playing.first_sound_ns or time.monotonic_ns() - playing.first_sound_ns < SOUNDS_NS:
            playing = self._progress(turn, "playing")
        begin_ns = time.monotonic_ns()
        self._send(VoiceStop(attempt=1, cause="user"), turn)
        return (self._progress(turn, "cut").last_sound_ns - begin_ns) / 1e6

    def _progress(self, turn: str, state: VoiceState) -> VoiceProgress:
        """The next that tells of this. Raise BenchError when none comes."""
        end_s = time.monotonic() + READY_S
        while time.monotonic() < end_s:
            if not self._socket.poll(ASK_MS):
                self._send(VoiceAsk(), turn)
                continue
            message = decode(self._socket.recv_multipart())
            if isinstance(message.body, VoiceProgress) and (message.envelope.turn, message.body.state) == (turn, state):
                return message.body
        raise BenchError(f"waited {READY_S:g} s for the speaker to be {state} in vain")

    def _send(self, body: Body, turn: str, pcm: bytes | None = None) -> None:
        self._socket.send_multipart(self._stamp.pack(body, turn=turn, payload=pcm))
