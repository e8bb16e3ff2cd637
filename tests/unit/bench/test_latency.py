"""The wait for the first word: sentences and what was made of them, the tutorials' loop, and the latency set itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest

from bench.latency import first_sample, fits, pieces_of, ready_ms
from bench.listener import Hearing
from bench.sound import seconds
from bench.spoken import PAUSED, PLAIN, Outcome, Piece, Sentence, judge, plain_words, read_pcm, spoken_files
from bench.tutorial import MINIMUM_SPEECH_S, SILENCE_LIMIT_S, Answer, Tutorial, shortest_speech_s
from bus.codec import Stamp, decode
from bus.limits import FRAME_BYTES, FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from bus.messages.base import Body, Message
from bus.messages.reply import ReplyDelta
from bus.messages.speech import SpeechSkipped, TranscriptFinal

S_NS = 1_000_000_000
FIRST = Sentence("turn on the light", begin=16_000, end=48_000)
SECOND = Sentence("add milk and bread", begin=80_000, end=128_000, pauses=((100_000, 110_000),))
ENDS_NS = [3 * S_NS, 8 * S_NS]


def one(*pieces: Piece) -> Outcome:
    outcome, _ = judge([FIRST, SECOND], pieces, ENDS_NS)
    return outcome


def test_the_wait_counts_from_the_last_sample_of_speech_to_the_first_word() -> None:
    outcomes = judge(
        [FIRST, SECOND], [Piece(80_640, "Add milk and bread.", 8_250_000_000), Piece(11_520, "Turn on the light.", 3_300_000_000)], ENDS_NS
    )
    assert [outcome.wait_s for outcome in outcomes] == pytest.approx([0.3, 0.25])
    assert [(outcome.is_wrong, outcome.is_split, outcome.is_early) for outcome in outcomes] == [(False, False, False)] * 2
    assert [outcome.sentence.kind for outcome in outcomes] == [PLAIN, PAUSED]


def test_what_was_kept_from_before_the_first_speech_belongs_to_the_sentence() -> None:
    first, second = judge([FIRST, SECOND], [Piece(80_000 - 4_800, "add milk and bread", None)], ENDS_NS)
    assert (len(first.pieces), len(second.pieces)) == (0, 1)


def test_a_sentence_in_two_pieces_is_split_and_waits_for_the_answer_to_the_last() -> None:
    outcome = one(Piece(11_520, "turn on", 2_500_000_000), Piece(40_000, "the light", 3_400_000_000))
    assert (outcome.is_split, outcome.is_early, outcome.is_wrong) == (True, True, True)
    assert outcome.heard == "turn on | the light"
    assert outcome.wait_s == pytest.approx(0.4)


def test_a_piece_that_was_too_short_to_be_a_turn_splits_a_sentence_too() -> None:
    outcome = one(Piece(11_520, "turn on the light", 3_400_000_000), Piece(45_000, "", None))
    assert outcome.is_split
    assert outcome.wait_s is None


def test_a_sentence_that_nobody_heard_is_wrong_and_has_no_wait() -> None:
    outcome = one()
    assert (outcome.is_wrong, outcome.is_split, outcome.is_early, outcome.wait_s) == (True, False, False, None)


def test_an_answer_before_the_end_is_no_wait() -> None:
    outcome = one(Piece(11_520, "turn on the light", 2_900_000_000))
    assert outcome.is_early
    assert outcome.wait_s is None


def test_words_are_compared_without_case_and_marks() -> None:
    assert plain_words("What's on  my list?") == plain_words("what's on my list")
    assert plain_words("Nine.") != plain_words("Night.")


# -- what the assistant tells -------------------------------------------------------------------------------------

STAMP = Stamp("llm", "1")


def told(body: Body, turn: str = "bench-1a2b3c4d-480") -> Message:
    return decode(STAMP.pack(body, turn=turn, stream="bench"))


def test_only_the_newest_attempt_at_an_answer_counts_and_of_it_the_first_word() -> None:
    messages = [told(ReplyDelta(attempt=number, index=index, text="x")) for number, index in ((1, 0), (2, 0), (2, 1), (1, 1))]
    turn = {"turn": "bench-1a2b3c4d-480", "transcript": "yes", "timings_ms": {}}
    hearing = Hearing(messages=[*messages, told(SpeechSkipped(first_sample=960, speech_ms=90, minimum_ms=800))], turns=[turn])
    assert pieces_of(hearing) == [Piece(480, "yes", messages[1].envelope.mono_ns), Piece(960, "", None)]


def test_the_end_was_decided_so_long_before_the_first_word_as_the_times_of_the_turn_say() -> None:
    final = told(TranscriptFinal(text="yes", audio_ms=900, decode_ms=80, avg_logprob=0.0, no_speech_prob=0.0))
    word = told(ReplyDelta(attempt=1, index=0, text="x"))
    word_ns = word.envelope.mono_ns
    timings = {"endpoint_wait": 240.0, "transcribe": 0.0, "transcribe_ahead": 80.0, "total_to_first_token": 300.0}
    hearing = Hearing(messages=[final, word], turns=[{"turn": word.envelope.turn, "transcript": "yes", "timings_ms": timings}])
    (piece,) = pieces_of(hearing)
    assert piece.decided_ns == word_ns - 60_000_000
    outcome, _ = judge([FIRST, SECOND], [piece], [word_ns - 310_000_000, word_ns])
    assert outcome.wait_s == pytest.approx(0.31)
    assert outcome.decided_s == pytest.approx(0.25)
    (late_ms,) = ready_ms(hearing, pause_ms=150)
    assert late_ms <= 60, "the transcript was told before the first word"


def test_a_turn_is_named_after_its_first_sample() -> None:
    assert first_sample("bench-1a2b3c4d-48000") == 48_000


@pytest.mark.parametrize(
    ("transcribe", "ahead", "fitting"), [(0.0, 160.0, True), (160.0, 0.0, True), (20.0, 160.0, False), (0.0, 161.0, False)]
)
def test_a_transcription_fits_when_the_silence_has_room_for_all_of_it(transcribe: float, ahead: float, fitting: bool) -> None:
    timings = {"endpoint_wait": 310.0, "transcribe": transcribe, "transcribe_ahead": ahead, "total_to_first_token": 500.0}
    assert fits(timings, pause_ms=150) is fitting
    assert not fits({"endpoint_wait": 310.0}, pause_ms=0), "a turn without an answer"


# -- the tutorials' loop ------------------------------------------------------------------------------------------

SPEECH, QUIET = b"\1" * FRAME_BYTES, bytes(FRAME_BYTES)
FRAME_S = FRAME_MS / 1000


class Scripted:
    """Stands in for the libraries and the clock. A transcription takes 0.2 s, a piece of the reply 0.1 s."""

    def __init__(self) -> None:
        self.time_s = 100.0
        self.heard: list[bytes] = []

    def is_speech(self, pcm: bytes) -> bool:
        return pcm == SPEECH

    def transcribe(self, pcm: bytes) -> str:
        self.time_s += 0.2
        self.heard.append(pcm)
        return "hello"

    def ask(self, text: str) -> Iterator[str]:
        for piece in (f"You said {text}", " to me."):
            self.time_s += 0.1
            yield piece

    def now_s(self) -> float:
        return self.time_s


def run(frames: Sequence[bytes], minimum_speech_s: float, *, at_once: bool = False) -> tuple[Scripted, list[Answer]]:
    """Frames at the pace of a microphone, or all that have waited in the queue."""
    scripted = Scripted()
    loop = Tutorial(scripted, minimum_speech_s)
    found = []
    for number, pcm in enumerate(frames):
        scripted.time_s += 0.0 if at_once else FRAME_S
        answer = loop.take(number * FRAME_SAMPLES, pcm)
        found += [answer] if answer else []
    return scripted, found


def frames_in(duration_s: float) -> int:
    return round(duration_s / FRAME_S)


def test_the_loop_answers_after_a_second_of_silence_and_hears_the_speech_without_its_pauses() -> None:
    frames = [QUIET] * 5 + [SPEECH] * 20 + [QUIET] * 20 + [SPEECH] * 20 + [QUIET] * 40
    scripted, (answer,) = run(frames, 1.0)
    assert scripted.heard == [SPEECH * 40]
    assert (answer.begin, answer.text, answer.reply) == (5 * FRAME_SAMPLES, "hello", "You said hello to me.")
    silence_s = frames_in(SILENCE_LIMIT_S) * FRAME_S
    assert answer.told_s == pytest.approx(100 + 65 * FRAME_S + silence_s + 0.2 + 0.1, abs=2 * FRAME_S)
    assert answer.transcribed_s == pytest.approx(0.2)


def test_the_loop_forgets_what_is_too_short() -> None:
    frames = [SPEECH] * (frames_in(MINIMUM_SPEECH_S) - 1) + [QUIET] * 40
    assert run(frames, MINIMUM_SPEECH_S)[1] == []
    assert len(run(frames, 1.9)[1]) == 1


def test_silence_that_waited_in_the_queue_is_none_for_the_loop() -> None:
    """The fault of measuring it by the consumer's clock: what came while it was busy passes in no time."""
    frames = [SPEECH] * 40 + [QUIET] * 100
    assert run(frames, 1.0, at_once=True)[1] == []


class Detector:
    def is_speech(self, pcm: bytes, sample_rate_hz: int, /) -> bool:
        assert sample_rate_hz == SAMPLE_RATE_HZ
        return pcm == SPEECH


def test_the_minimum_of_speech_is_lowered_to_the_shortest_sentence() -> None:
    pcm = b"".join([SPEECH] * 10 + [QUIET] * 10 + [SPEECH] * 4)
    places = [(0, 12 * FRAME_SAMPLES), (19 * FRAME_SAMPLES, 24 * FRAME_SAMPLES - 1)]
    assert shortest_speech_s(Detector(), pcm, places) == pytest.approx(4 * FRAME_S)


# -- the set ------------------------------------------------------------------------------------------------------


def test_the_latency_set_has_plain_sentences_and_ones_with_pauses_that_are_as_quiet_as_they_say() -> None:
    plain, paused = spoken_files()
    assert len(plain.sentences) == len(paused.sentences) == 24
    assert {sentence.kind for sentence in plain.sentences} == {PLAIN}
    assert {sentence.kind for sentence in paused.sentences} == {PAUSED}
    lengths_s = [(end - begin) / SAMPLE_RATE_HZ for sentence in paused.sentences for begin, end in sentence.pauses]
    assert (min(lengths_s), max(lengths_s)) == (0.3, 0.9)
    for spoken in (plain, paused):
        pcm = read_pcm(spoken.path)
        samples = np.frombuffer(pcm, np.int16).astype(float)
        for sentence, after in pairwise(spoken.sentences):
            peak = np.abs(samples[sentence.begin : sentence.end]).max()
            for begin, end in (*sentence.pauses, (sentence.end, after.begin)):
                assert np.abs(samples[begin:end]).max() < 0.1 * peak, sentence.text
            assert np.abs(samples[sentence.end - 800 : sentence.end]).max() > 0.02 * peak, sentence.text
            assert (after.begin - sentence.end) / SAMPLE_RATE_HZ > 1.9
        assert seconds(pcm) * SAMPLE_RATE_HZ - spoken.sentences[-1].end > 1.9 * SAMPLE_RATE_HZ
