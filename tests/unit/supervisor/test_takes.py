"""A recording and its replay, laid side by side."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.vad import duplex
from bus.clock import ManualClock
from bus.codec import Stamp, decode
from bus.errors import EarshotError
from bus.limits import FRAME_BYTES
from bus.messages.base import Body
from bus.messages.reply import PromptMade, PromptMessage
from bus.messages.speech import SpeechEnded, SpeechSkipped, TranscriptFinal
from bus.messages.turn import TurnFinished, TurnRecord
from bus.messages.voice import VoiceFinished, VoicePlaying, VoiceStarted
from bus.recording import Recorded, Sound
from supervisor.takes import LONGEST_NS, ROOM_NS, Utterance, compare, latency_ms, takes

FRAME = bytes(range(240)) * 4
STAMP = Stamp("x", "1", ManualClock())


def event(turn: str, body: Body) -> Recorded:
    return Recorded(0, decode(STAMP.pack(body, turn=turn, stream="mic")))


def sound(first_sample: int, frames: int = 1, epoch: str = "e") -> Recorded:
    return Recorded(0, Sound("mic", epoch, first_sample, (0,) * frames, FRAME * frames))


def finished(turn: str, transcript: str, reply: str, **timings_ms: float) -> Recorded:
    record = TurnRecord(
        turn=turn, stream="mic", role="plain", state="answered", transcript=transcript, reply=reply, wall_ns=0, timings_ms=timings_ms
    )
    return event(turn, TurnFinished(record=record))


def test_a_take_is_the_sound_and_what_came_of_each_stretch_of_speech() -> None:
    (take,) = takes(
        [
            sound(960, 3),
            event("mic-e-1440", SpeechEnded(first_sample=1440, end_sample=2400, speech_ms=30)),
            event("mic-e-1440", TranscriptFinal(text="Hi.", audio_ms=1, decode_ms=1, avg_logprob=0, no_speech_prob=0)),
            event("mic-e-1440", PromptMade(attempt=1, messages=[PromptMessage(role="user", content="Hi.")], max_tokens=64)),
            finished("mic-e-1440", "Hi.", "Hello.", total=5.0),
            event("mic-e-1920", SpeechSkipped(first_sample=1920, speech_ms=60, minimum_ms=800)),
        ]
    )
    assert (take.stream, take.epoch, take.begin_sample, bytes(take.pcm)) == ("mic", "e", 960, FRAME * 3)
    assert take.utterances == {
        480: Utterance(480, 1440, 0, "Hi.", (("user", "Hi."),), "Hello.", "answered", {"total": 5.0}),
        960: Utterance(960, skipped_ms=60),
    }


def test_speech_from_before_the_recording_is_left_out() -> None:
    (take,) = takes([sound(960), event("mic-e-480", SpeechEnded(first_sample=480, end_sample=1200, speech_ms=30))])
    assert not take.utterances


def test_each_count_of_samples_is_a_take_of_its_own() -> None:
    assert [(take.epoch, len(take.pcm)) for take in takes([sound(0), sound(0, 2, epoch="f"), sound(480)])] == [("e", 1920), ("f", 1920)]


def test_missing_samples_are_silent_and_counted_and_repeated_ones_are_passed_over() -> None:
    (take,) = takes([sound(0), sound(1440), sound(0, 4)])
    assert bytes(take.pcm) == FRAME + bytes(1920) + FRAME
    assert take.missing_samples == 960


def test_more_missing_sound_than_fits_into_memory_is_told_in_one_line() -> None:
    with pytest.raises(EarshotError, match="are missing") as raised:
        takes([sound(0), sound(1 << 52)])
    assert "\n" not in str(raised.value)
    half_an_hour = 30 * 60 * 16_000
    with pytest.raises(EarshotError, match="are missing"):
        takes([sound(0), *(sound(at * half_an_hour) for at in range(1, 4))])
    (take,) = takes([sound(0), sound(half_an_hour)])
    assert take.missing_samples == half_an_hour - 480


def at(*captured_ns: int) -> Recorded:
    return Recorded(0, Sound("mic", "e", 0, captured_ns, FRAME * len(captured_ns)))


def heard_frames(*recorded: Recorded) -> list[bool]:
    """Of each frame, whether there is sound in it."""
    (take,) = takes(recorded, half_duplex="mic")
    return [any(take.pcm[begin : begin + FRAME_BYTES]) for begin in range(0, len(take.pcm), FRAME_BYTES)]


S: Final = 1_000_000_000


def test_where_the_segmenter_was_deaf_for_the_assistants_own_voice_there_is_silence() -> None:
    sound = at(1 * S, 2 * S, 3 * S, 4 * S, 5 * S)
    started, finished = (
        event("mic-e-0", body) for body in (VoiceStarted(attempt=1, at_ns=2 * S), VoiceFinished(attempt=1, at_ns=4 * S - 1))
    )
    assert heard_frames(sound, started, finished) == [True, False, False, False, True]
    (take,) = takes([sound, started, finished])
    assert bytes(take.pcm) == FRAME * 5, "with a headset, or in another stream"


def test_an_utterance_that_was_begun_before_the_voice_is_whole() -> None:
    ended = event("mic-e-480", SpeechEnded(first_sample=480, end_sample=1440, speech_ms=30))
    assert heard_frames(at(1 * S, 2 * S, 3 * S, 4 * S), event("x", VoiceStarted(attempt=1, at_ns=3 * S)), ended) == [
        True,
        True,
        True,
        False,
    ]


def test_of_a_voice_whose_beginning_or_end_was_not_recorded_the_rest_is_known() -> None:
    playing = event("x", VoicePlaying(attempt=1, since_ns=2 * S, at_ns=3 * S))
    assert heard_frames(at(1 * S, 2 * S, 8 * S, 9 * S), playing) == [True, False, False, True]
    assert heard_frames(at(1 * S, 2 * S), event("x", VoiceFinished(attempt=1, at_ns=2 * S))) == [True, True]


def test_a_replay_is_deaf_for_as_long_as_the_segmenter_was() -> None:
    assert (ROOM_NS, LONGEST_NS) == (duplex.ROOM_NS, duplex.LONGEST_NS)


def said(first_sample: int, text: str = "Hi.", length: int = 960, **fields: object) -> Utterance:
    return Utterance(first_sample, first_sample + length, transcript=text, **fields)  # type: ignore[arg-type]


def by_sample(*utterances: Utterance) -> dict[int, Utterance]:
    return {utterance.first_sample: utterance for utterance in utterances}


utterances = st.lists(st.tuples(st.integers(0, 50), st.sampled_from(["Yes.", "No.", "Stop it."])), max_size=6).map(
    lambda items: by_sample(*(said(at * 1920, text) for at, text in items))
)


@given(utterances)
def test_a_take_does_not_differ_from_itself(found: dict[int, Utterance]) -> None:
    differences = compare(found, found)
    assert len(differences) == len(found)
    assert not any(difference.stages for difference in differences)


@given(utterances, utterances)
def test_every_stretch_of_speech_of_both_sides_is_in_the_comparison_once(before: dict[int, Utterance], after: dict[int, Utterance]) -> None:
    differences = compare(before, after)
    assert [difference.before for difference in differences if difference.before] == [before[key] for key in sorted(before)]
    assert [difference.after for difference in differences if difference.after] == [after[key] for key in sorted(after)]


def test_one_sample_more_is_a_difference_of_the_segment() -> None:
    (difference,) = compare(by_sample(said(0)), by_sample(said(0, length=961)))
    assert difference.stages == ("segment",)


def test_other_words_are_told() -> None:
    (difference,) = compare(by_sample(said(0, "Thank you four your help.")), by_sample(said(0, "Thank you for your help.")))
    assert difference.stages == ("transcript",)
    assert difference.words == [("four", "for")]


def test_rounds_from_before_the_recording_are_no_difference_but_are_told() -> None:
    role, old, question = ("system", "Be kind."), (("user", "a"), ("assistant", "b")), ("user", "c")
    (difference,) = compare(by_sample(said(0, prompt=(role, *old, question))), by_sample(said(0, prompt=(role, question))))
    assert (difference.stages, difference.earlier_rounds) == ((), 2)
    (difference,) = compare(by_sample(said(0, prompt=(role, *old, question))), by_sample(said(0, prompt=(role, ("user", "d")))))
    assert difference.stages == ("prompt",)


def test_a_latency_is_the_sum_of_the_parts_that_are_known() -> None:
    utterance = said(0, timings_ms={"a": 1.0, "b": 2.5})
    assert latency_ms(utterance, "a", "b", "c") == 3.5
    assert latency_ms(utterance, "c") is None
    assert latency_ms(None, "a") is None
