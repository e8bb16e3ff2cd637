"""Work in the pauses: what the ear has done ahead, when it takes that back, and how the words of a pause move its end.

The real actor `vad` on real planes hears a source that the test feeds frame by frame, with the time at which each would have been
captured. A worker stands in for Whisper: it has a text for each revision that the test told it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import zmq

from actors.actor import Runtime
from actors.vad.actor import Vad
from bus.audio import AudioSource
from bus.codec import Stamp
from bus.jobs import Lease
from bus.limits import FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from bus.messages.base import Message
from bus.messages.jobs import Heard, Job, Transcribe
from bus.messages.speech import SpeechConfirmed, SpeechEnded, SpeechSkipped, TranscriptPartial
from bus.messages.turn import TurnFinished, TurnRecord
from bus.messages.voice import VoicePlaying, VoiceStarted
from bus.settings import Settings
from tests.fakes.audio_instance import Instance, Listener, settings
from tests.fakes.audio_speech import frames, jfk_pcm
from tests.waiting import pump_until

VAD = {
    "engine": "silero",
    "minimum_speech_s": 0.8,
    "pause_ms": 150,  # nobody in SPEECH or MORE pauses so long
    "finished_silence_s": 0.24,
    "silence_limit_s": 0.8,
    "unfinished_silence_s": 2.0,
    "partial_ms": 0,
}
SPEECH = jfk_pcm()[: 2 * round(2.2 * SAMPLE_RATE_HZ) // 960 * 960]  # from 0.3 to 2.2 s
MORE = jfk_pcm()[2 * round(3.2 * SAMPLE_RATE_HZ) // 960 * 960 : 2 * round(4.4 * SAMPLE_RATE_HZ) // 960 * 960]
FRAME_NS = FRAME_MS * 1_000_000
BEGAN_NS = 10**12


class Speech:
    """A speech worker that works ahead: it publishes `text` for each pause, if there is one, and keeps what it was given."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.ahead: list[Lease] = []
        self.leases: list[Lease] = []
        self.committed: list[str] = []

    def __call__(self, runtime: Runtime) -> Speech:
        self._runtime = runtime
        runtime.work("stt", self._on_lease, self._on_committed)
        return self

    def close(self) -> None:
        """Nothing is held."""

    def _on_committed(self, _lease: str, job: Job) -> None:
        if job.id not in self.committed:  # that is told as often as it may have got lost
            self.committed.append(job.id)

    def _on_lease(self, lease: Lease) -> None:
        (self.ahead if lease.ahead else self.leases).append(lease)
        job, is_pause = lease.job, lease.ahead == "speculative"
        if lease.ahead and self.text:
            body = TranscriptPartial(text=self.text, stable_chars=0, revision=job.revision, at_pause=is_pause)
            self._runtime.publish(body, turn=job.turn, stream=job.stream)
        heard = Job(turn=job.turn, stream=job.stream, work=Heard(transcript=self.text), revision=job.revision, marks=job.marks)
        lease.done([heard] if is_pause else [])


class Microphone:
    """Gives frames as fast as the test likes. The segmenter's clock says the time at which the frame that it hears was captured, and
    `late_ms` more."""

    def __init__(self, instance: Instance, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.instance = instance
        self.late_ms = 0
        self.words: list[Message] = []
        """What the segmenter was told of words, once it has acted on it. Others hear of them sooner or later than it does."""
        self.source = AudioSource(context, instance.addresses, "mic", Stamp("mic", "1"), ring_s=60, can_wait=False)

    def listen(self, use: Settings | None = None) -> None:
        """Start the segmenter and wait until it follows the stream."""
        self.instance.start("vad", Vad, use or settings(vad=VAD))
        runtime = self.instance._running["vad"][0]
        self.until(lambda: self.ear() is not None and runtime.jobs._connected)
        runtime.clock = self  # type: ignore[assignment]
        runtime.subscribe(TranscriptPartial.topic, self.words.append)
        self.instance.until_ready()

    def monotonic_ns(self) -> int:
        heard: int = self.ear()._hearing.next_sample
        return BEGAN_NS + heard // FRAME_SAMPLES * FRAME_NS + self.late_ms * 1_000_000

    def hear(self, pcm: bytes) -> None:
        """Publish it, and turn all actors until the segmenter has heard it."""
        for frame in frames(pcm):
            captured_ns = BEGAN_NS + (self.source.newest // FRAME_SAMPLES + 1) * FRAME_NS
            self.source.publish(self.source.newest, frame, captured_ns)
        self.until(lambda: self.ear()._hearing.next_sample == self.source.newest)

    def pause(self, frames_without_speech: int) -> None:
        self.hear(bytes(960 * frames_without_speech))

    def ear(self) -> Any:
        vad = self.instance._running["vad"][1]
        assert isinstance(vad, Vad)
        return vad._ears.get("mic")

    def until(self, condition: Callable[[], object]) -> None:
        pump_until(condition, self.instance.turn, self.source.serve)


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


def begin(instance: Instance, context: zmq.Context[zmq.Socket[bytes]], worker: Speech, use: Settings | None = None) -> Microphone:
    instance.start_planes()
    instance.start("whisper-1", worker)
    microphone = Microphone(instance, context)
    microphone.listen(use)
    return microphone


def test_a_pause_has_the_utterance_transcribed_ahead_and_its_end_commits_just_that(
    instance: Instance, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    worker = Speech()
    microphone = begin(instance, context, worker)
    microphone.hear(SPEECH)
    microphone.pause(8)
    microphone.until(lambda: worker.ahead)
    (ahead,) = worker.ahead
    microphone.pause(30)
    microphone.until(lambda: worker.committed)
    assert worker.committed == [ahead.job.id]
    assert worker.leases == []
    assert ahead.payload is not None
    assert ahead.job.revision == len(ahead.payload) // 960
    assert SPEECH[2 * ahead.job.work.first_sample :].startswith(ahead.payload[: len(SPEECH) // 2])  # type: ignore[union-attr]


def test_speech_after_a_pause_takes_the_work_back_and_the_next_pause_begins_it_anew(
    instance: Instance, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    worker = Speech()
    microphone = begin(instance, context, worker)
    microphone.hear(SPEECH)
    microphone.pause(8)
    microphone.until(lambda: worker.ahead)
    microphone.hear(MORE)
    microphone.pause(8)
    microphone.until(lambda: len(worker.ahead) == 2)
    first, second = worker.ahead
    assert first.job.turn == second.job.turn
    assert first.job.revision < second.job.revision
    microphone.pause(30)
    microphone.until(lambda: worker.committed)
    assert worker.committed == [second.job.id]


def test_the_words_of_a_whole_sentence_end_it_early_and_those_that_want_more_late(
    instance: Instance, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    worker = Speech("Turn on the kitchen light.")
    microphone = begin(instance, context, worker)
    microphone.hear(SPEECH)
    microphone.pause(10)
    microphone.until(lambda: worker.committed)  # after 0.3 s, where the silence limit is 0.8 s
    worker.text = "Turn on the."
    microphone.pause(30)
    microphone.hear(SPEECH)
    microphone.pause(10)
    microphone.until(lambda: len(worker.ahead) == 2)
    microphone.until(lambda: microphone.ear()._hearing._segmenter._limit > 30)
    microphone.pause(30)
    microphone.hear(MORE)  # 1.2 s later
    worker.text = "Turn on the kitchen light."
    microphone.pause(10)
    microphone.until(lambda: len(worker.committed) == 2)
    assert worker.committed == [worker.ahead[0].job.id, worker.ahead[2].job.id]
    assert worker.ahead[1].job.turn == worker.ahead[2].job.turn


def test_words_of_another_pause_or_of_which_nobody_is_sure_move_nothing(
    instance: Instance, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    worker = Speech()
    microphone = begin(instance, context, worker)
    microphone.hear(SPEECH)
    microphone.pause(12)
    microphone.until(lambda: worker.ahead)
    ear, job = microphone.ear(), worker.ahead[0].job
    before = ear._hearing._segmenter._limit
    words = TranscriptPartial(text="Turn on the kitchen light.", stable_chars=0, revision=job.revision, at_pause=True)
    for turn, said in (
        (job.turn, msgspec.structs.replace(words, revision=job.revision - 1)),
        (job.turn + "0", words),
        (job.turn, msgspec.structs.replace(words, at_pause=False)),
        (job.turn, msgspec.structs.replace(words, avg_logprob=-0.9)),
    ):
        ear.on_partial(turn, said)
        assert ear._hearing.is_open
        assert ear._hearing._segmenter._limit == before
    ear.on_partial(job.turn, words)
    assert not ear._hearing.is_open


@pytest.mark.parametrize(("enough_ms", "told_ms"), [(240, [240, 1260]), (5000, [])])
def test_speech_is_confirmed_once_it_has_lasted_and_each_second_that_it_goes_on(
    instance: Instance, context: zmq.Context[zmq.Socket[bytes]], enough_ms: int, told_ms: list[int]
) -> None:
    listener = Listener(SpeechConfirmed.topic, SpeechEnded.topic)
    instance.start_planes()
    instance.start("listener", listener)
    instance.start("whisper-1", Speech())
    microphone = Microphone(instance, context)
    microphone.listen(settings(vad=VAD, interruption={"min_ms": enough_ms}))
    microphone.hear(SPEECH)
    microphone.pause(40)
    microphone.until(lambda: any(message.topic == SpeechEnded.topic for message in listener.messages))
    confirmed = [message.body for message in listener.messages if isinstance(message.body, SpeechConfirmed)]
    assert [body.speech_ms for body in confirmed] == told_ms


def test_speech_that_goes_on_after_a_pause_is_confirmed_anew(instance: Instance, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    listener = Listener(SpeechConfirmed.topic, SpeechEnded.topic)
    instance.start_planes()
    instance.start("listener", listener)
    instance.start("whisper-1", Speech())
    microphone = Microphone(instance, context)
    microphone.listen(settings(vad=VAD))
    microphone.hear(SPEECH[: 2 * SAMPLE_RATE_HZ // 960 * 960])
    microphone.pause(8)
    voiced_ms = microphone.ear()._hearing.voiced_ms
    microphone.hear(MORE)
    microphone.pause(40)
    microphone.until(lambda: any(message.topic == SpeechEnded.topic for message in listener.messages))
    confirmed_ms = [message.body.speech_ms for message in listener.messages if isinstance(message.body, SpeechConfirmed)]
    assert confirmed_ms[:2] == [240, voiced_ms + 240]


@pytest.mark.parametrize("sounds", [True, False])
def test_a_short_word_into_the_voice_is_transcribed_in_its_pause_and_is_no_turn(
    sounds: bool, instance: Instance, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    worker, listener = Speech("Stop."), Listener(SpeechSkipped.topic)
    instance.start_planes()
    instance.start("listener", listener)
    speaker = instance.start("speaker", Listener())
    assert isinstance(speaker, Listener)
    instance.start("whisper-1", worker)
    microphone = Microphone(instance, context)
    vad = {**VAD, "unfinished_silence_s": 0.8}
    microphone.listen(settings(vad=vad, speaker={"duplex": "full"}))
    if sounds:
        instance._running["speaker"][0].publish(VoiceStarted(attempt=1, at_ns=BEGAN_NS), turn="t1", stream="mic")
        microphone.until(lambda: microphone.ear()._voice._stretches)
    microphone.hear(SPEECH[: 2 * round(0.85 * SAMPLE_RATE_HZ) // 960 * 960])
    microphone.pause(10)
    if sounds:
        microphone.until(lambda: microphone.words)
        assert microphone.ear()._hearing.is_open
    microphone.pause(30)
    microphone.until(lambda: SpeechSkipped.topic in listener.topics())
    assert len(worker.ahead) == sounds
    assert not worker.leases


@pytest.mark.parametrize("reply", ["Shall I go on?", "It is five."])
@pytest.mark.parametrize("said", ["Yes.", "Ahem."])
def test_a_short_word_is_a_turn_where_it_answers_a_question(
    said: str, reply: str, instance: Instance, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    worker, listener = Speech(said), Listener(SpeechSkipped.topic)
    microphone = begin(instance, context, worker)
    instance.start("listener", listener)
    instance.start("memory", Listener())
    instance.until_ready()
    expected = reply.endswith("?")
    vad = instance._running["vad"][1]
    assert isinstance(vad, Vad)
    record = TurnRecord(turn="t0", stream="mic", role="r", state="answered", transcript="What?", reply=reply, wall_ns=1, timings_ms={})
    for stream in ("mic", "gone"):
        instance._running["memory"][0].publish(TurnFinished(record=record), turn="t0", stream=stream)
    microphone.until(lambda: "gone" in vad._short_words)
    vad._tick()
    assert ("gone" in vad._short_words) is expected, "the answer may come from a new source, for a while"
    microphone.hear(SPEECH[: 2 * round(0.85 * SAMPLE_RATE_HZ) // 960 * 960])
    microphone.pause(10)
    if expected:
        microphone.until(lambda: microphone.words)
    microphone.pause(60)
    if expected and said == "Yes.":
        microphone.until(lambda: worker.committed)
    else:
        microphone.until(lambda: SpeechSkipped.topic in listener.topics())
        assert not worker.committed
    assert len(worker.ahead) == expected
    assert not worker.leases


@pytest.mark.parametrize(("since_ms", "is_heard"), [(-2000, False), (1500, True)])
def test_an_utterance_that_our_voice_opened_before_that_was_known_is_not_heard_further_and_one_that_was_open_before_it_is(
    instance: Instance, context: zmq.Context[zmq.Socket[bytes]], since_ms: int, is_heard: bool
) -> None:
    microphone = begin(instance, context, Speech())
    half = len(SPEECH) // 2 // 960 * 960
    microphone.hear(SPEECH[:half])
    assert microphone.ear()._hearing.is_open
    voiced_ms = microphone.ear()._hearing.voiced_ms
    speaker = instance.start("speaker", Listener())
    assert isinstance(speaker, Listener)
    instance.until_ready()
    playing = VoicePlaying(attempt=1, since_ns=BEGAN_NS + since_ms * 1_000_000, at_ns=microphone.monotonic_ns())
    instance._running["speaker"][0].publish(playing, turn="t1", stream="mic")
    microphone.until(lambda: microphone.ear()._gate._stretches)
    microphone.hear(SPEECH[half : half + 960 * 8])
    assert (microphone.ear()._hearing.voiced_ms > voiced_ms + 90) is is_heard  # the engine's verdict lags a little


def test_fixed_endpoints_heed_no_words(instance: Instance, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    worker = Speech("Turn on the kitchen light.")
    microphone = begin(instance, context, worker, settings(vad={**VAD, "endpoint": "fixed"}))
    microphone.hear(SPEECH)
    microphone.pause(20)
    microphone.until(lambda: worker.ahead)
    for _ in range(20):
        instance.turn()
    assert microphone.ear()._hearing.is_open
    microphone.pause(15)
    microphone.until(lambda: worker.committed)


def test_while_catching_up_nothing_is_done_ahead(instance: Instance, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    worker = Speech("Turn on the kitchen light.")
    microphone = begin(instance, context, worker)
    microphone.late_ms = 2000
    microphone.hear(SPEECH + bytes(960 * 8))
    microphone.late_ms = 300
    microphone.hear(MORE + bytes(960 * 35))
    microphone.until(lambda: worker.leases)
    assert worker.ahead == []


def test_while_somebody_speaks_what_was_said_so_far_goes_ahead_as_a_partial(
    instance: Instance, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    worker, other = Speech(), Speech()
    microphone = begin(instance, context, worker, settings(vad={**VAD, "partial_ms": 600}))
    instance.start("whisper-2", other)
    instance.until_ready()
    microphone.hear(SPEECH[: len(SPEECH) // 960 * 6 // 10 * 960])
    microphone.until(lambda: worker.ahead + other.ahead)
    (lease,) = worker.ahead + other.ahead
    assert lease.ahead == "partial"
    assert lease.payload is not None
    assert lease.payload in SPEECH
    assert lease.job.revision == len(lease.payload) // 960
    guess = TranscriptPartial(text="Turn on the", stable_chars=4, revision=lease.job.revision)
    microphone.ear().on_partial(lease.job.turn, guess)
    microphone.hear(SPEECH[len(SPEECH) // 960 * 6 // 10 * 960 :])
    microphone.until(lambda: len(worker.ahead + other.ahead) >= 2)
    work = max((each.job for each in worker.ahead + other.ahead), key=lambda job: job.revision).work
    assert isinstance(work, Transcribe)
    assert (work.guess, work.guess_stable_chars) == ("Turn on the", 4)


@pytest.mark.parametrize("dies", ["before it knows", "after the next one"])
def test_an_utterance_that_a_predecessor_ended_elsewhere_is_handed_on_once_and_nothing_of_the_rest_is_lost(
    instance: Instance, context: zmq.Context[zmq.Socket[bytes]], dies: str
) -> None:
    """The words made the predecessor end the utterance in a pause that for its successor, who knows no words, is not the end."""
    worker = Speech("Turn on the kitchen light.")
    microphone = begin(instance, context, worker)
    microphone.ear()._reader.commit = lambda *_: None  # its commits never arrive
    microphone.hear(SPEECH)
    microphone.pause(10)
    microphone.until(lambda: worker.committed)
    early = worker.ahead[0]
    microphone.hear(MORE)
    if dies == "after the next one":
        microphone.pause(10)
        microphone.until(lambda: len(worker.committed) == 2)
    instance.kill("vad")
    worker.text = ""
    microphone.listen()
    microphone.pause(40)
    microphone.until(lambda: len(worker.committed) + len(worker.leases) == 2 and not microphone.ear()._unaccepted)
    done = [early, *([worker.ahead[1]] if dies == "after the next one" else worker.leases or worker.ahead[-1:])]
    assert len({lease.job.turn for lease in done}) == 2
    starts = [lease.job.work.first_sample for lease in done]  # type: ignore[union-attr]
    assert starts[0] + early.job.revision * FRAME_SAMPLES <= starts[1]
    assert MORE[len(MORE) // 3 : len(MORE) // 2] in (done[1].payload or b"")
    assert len(worker.committed) + len(worker.leases) == 2
    assert not microphone.ear()._hearing.is_open
