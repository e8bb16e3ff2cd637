"""The Whisper actor with the rehearsal model, and work ahead of time: what is told when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import soundfile

from actors.liveness import Phases
from actors.whisper.actor import MAX_EARLY, Whisper
from bus.clock import SystemClock
from bus.jobs import JobClient, Lease
from bus.messages.base import Body
from bus.messages.jobs import Ahead, Heard, Job, JobDeclined, JobDone, Transcribe
from bus.messages.speech import TranscriptFinal, TranscriptPartial
from bus.settings import Settings
from tests.contract.whisper.test_engine import ASSETS, MODEL

TEXT = "What is two plus three?"


class Stage:
    """The runtime and the job client, as far as this actor uses them: they write down what they are told."""

    def __init__(self) -> None:
        self.told: list[tuple[Body, str]] = []
        self.done: list[JobDone] = []
        self.declined: list[JobDeclined] = []
        self.looks_until_cancel: int | None = None
        whisper = msgspec.structs.replace(Settings().whisper, model=str(MODEL))
        runtime: Any = SimpleNamespace(
            settings=msgspec.structs.replace(Settings(), whisper=whisper),
            clock=SystemClock(),
            phases=Phases(SystemClock().monotonic_ns),
            status=lambda _text: None,
            work=self._work,
            publish=lambda body, turn, stream: self.told.append((body, turn)),
        )
        self.whisper = Whisper(runtime)

    def _work(self, _queue: str, handler: Any, on_committed: Any) -> None:
        self.handle, self.commit = handler, on_committed

    def end_lease(self, _lease: Lease, body: JobDone | JobDeclined) -> None:
        if isinstance(body, JobDone):
            self.done.append(body)
        else:
            self.declined.append(body)

    def extend_lease(self, _lease: Lease, _deadline_ms: int) -> None:
        """On a busy machine the trial takes so long that the lease is too short."""

    def overhear(self) -> None:
        """The worker looks between two steps whether its work is still wanted."""
        if self.looks_until_cancel is not None:
            self.looks_until_cancel -= 1
            self.held.cancelled = self.looks_until_cancel <= 0

    def lease(self, sound: bytes, ahead: Ahead, number: int = 1, **work: Any) -> Lease:
        asked = Transcribe(first_sample=0, audio_ms=len(sound) // 32, speech_ms=len(sound) // 32, **work)
        job = Job(turn=f"turn-{number}", stream="mic", work=asked, revision=len(sound) // 960)
        client: JobClient = self  # type: ignore[assignment]
        self.held = Lease(job, sound, 0, 60_000, f"{job.id}#0", client, ahead)
        self.handle(self.held)
        return self.held


@pytest.fixture(scope="module")
def sound() -> bytes:
    samples, _ = soundfile.read(ASSETS / "speech" / "sum-rms.wav", dtype="int16")
    return bytes(samples.tobytes())


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_what_is_heard_ahead_of_time_is_told_as_a_partial_and_as_final_only_once_it_is_wanted(stage: Stage, sound: bytes) -> None:
    lease = stage.lease(sound, "speculative")
    assert [job.work for job in stage.done[0].follow_ups] == [Heard(transcript=TEXT, speech_ms=len(sound) // 32)]
    ((partial, _),) = stage.told
    assert isinstance(partial, TranscriptPartial)
    assert (partial.text, partial.revision, partial.at_pause) == (TEXT, lease.job.revision, True)
    assert -1 < partial.avg_logprob < 0
    stage.commit(lease.id, lease.job)
    final, turn = stage.told[1]
    assert isinstance(final, TranscriptFinal)
    assert (final.text, turn) == (TEXT, lease.job.turn)
    stage.commit(lease.id, lease.job)
    assert len(stage.told) == 2


def test_a_partial_is_followed_by_nothing_and_confirms_what_two_hearings_agree_on(stage: Stage, sound: bytes) -> None:
    stage.lease(sound, "partial", guess="What is two times", guess_stable_chars=0)
    assert stage.done[0].follow_ups == []
    ((partial, _),) = stage.told
    assert isinstance(partial, TranscriptPartial)
    assert (partial.text, partial.text[: partial.stable_chars], partial.at_pause) == (TEXT, "What is two", False)


def test_what_is_never_wanted_is_forgotten_in_the_end(stage: Stage) -> None:
    leases = [stage.lease(bytes(32_000), "speculative", number) for number in range(MAX_EARLY + 1)]
    stage.told.clear()
    for lease in leases:
        stage.commit(lease.id, lease.job)
    assert [turn for _, turn in stage.told] == [lease.job.turn for lease in leases[1:]]


@pytest.mark.parametrize("looks", [1, 2])
def test_what_is_called_off_is_given_up_before_the_next_step_and_nothing_is_told(stage: Stage, sound: bytes, looks: int) -> None:
    stage.looks_until_cancel = looks
    lease = stage.lease(sound, "speculative")
    assert (stage.told, stage.done) == ([], [])
    assert [declined.lease for declined in stage.declined] == [lease.id]


def test_what_is_wanted_is_heard_to_its_end_whoever_else_has_it_too(stage: Stage, sound: bytes) -> None:
    stage.looks_until_cancel = 1
    stage.lease(sound, "")
    assert [job.work for job in stage.done[0].follow_ups] == [Heard(transcript=TEXT, speech_ms=len(sound) // 32)]
