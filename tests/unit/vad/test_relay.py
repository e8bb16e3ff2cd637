"""A relay's verdicts do not hang on when it began to listen."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from actors.vad.engines import open_engine
from actors.vad.relay import BLOCK_FRAMES, WARM_UP_FRAMES, Relay, warm_up_start
from bus.limits import FRAME_MS, FRAME_SAMPLES, MAX_UTTERANCE_S
from bus.settings import MicSettings
from tests.fakes.audio_speech import frames, jfk_pcm

FRAMES = 3 * BLOCK_FRAMES


class Elephant:
    """Forgets nothing: its verdict hangs on every frame since its reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._heard = 0

    def is_speech(self, pcm: bytes) -> bool:
        self._heard = zlib.crc32(pcm, self._heard)
        return self._heard % 2 == 1


def frame(number: int) -> bytes:
    return random.Random(number).randbytes(8)


def verdicts(begin: int, end: int) -> list[bool]:
    relay = Relay(Elephant)
    relay.begin(begin * FRAME_SAMPLES)
    return [relay.is_speech(frame(number)) for number in range(begin, end)]


@given(at=st.integers(0, FRAMES - 1), data=st.data())
@settings(deadline=None)
def test_whoever_hears_what_is_needed_says_the_same(at: int, data: st.DataObject) -> None:
    needed = warm_up_start(at * FRAME_SAMPLES) // FRAME_SAMPLES
    begin = data.draw(st.integers(0, needed))
    assert verdicts(begin, FRAMES)[at - begin :] == verdicts(0, FRAMES)[at:]


@given(at=st.integers(0, FRAMES))
def test_what_is_needed_is_as_long_as_a_warm_up_and_never_longer_than_the_ring_can_hold(at: int) -> None:
    needed = at - warm_up_start(at * FRAME_SAMPLES) // FRAME_SAMPLES
    assert min(at, WARM_UP_FRAMES) <= needed < BLOCK_FRAMES + WARM_UP_FRAMES


def test_the_shortest_ring_holds_the_longest_utterance_and_what_is_needed_before_it() -> None:
    (limit,) = [field.type.ge for field in inspect.type_info(MicSettings).fields if field.name == "ring_s"]  # type: ignore[attr-defined]
    commit_step_s = 1
    assert limit >= MAX_UTTERANCE_S + (BLOCK_FRAMES + WARM_UP_FRAMES) * FRAME_MS / 1000 + commit_step_s


@pytest.mark.parametrize("name", ["webrtc", "silero"])
def test_a_real_engine_says_the_same_when_it_begins_late(name: str) -> None:
    sound = frames(jfk_pcm() * 2)
    at = 2 * BLOCK_FRAMES + 20
    begin = warm_up_start(at * FRAME_SAMPLES) // FRAME_SAMPLES
    assert begin > 0
    whole, late = Relay(lambda: open_engine(name)), Relay(lambda: open_engine(name))
    late.begin(begin * FRAME_SAMPLES)
    heard = [whole.is_speech(pcm) for pcm in sound]
    assert [late.is_speech(pcm) for pcm in sound[begin:]][at - begin :] == heard[at:]


@pytest.mark.parametrize("name", ["webrtc", "silero"])
def test_a_relay_hears_nearly_what_one_engine_hears_that_is_never_relieved(name: str) -> None:
    sound = frames(jfk_pcm() * 3)
    engine, relay = open_engine(name), Relay(lambda: open_engine(name))
    apart = sum(engine.is_speech(pcm) != relay.is_speech(pcm) for pcm in sound)
    assert apart < 0.05 * len(sound)
