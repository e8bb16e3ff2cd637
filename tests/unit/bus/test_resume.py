"""Open turns of an earlier run: young ones go on, old ones are kept as unanswered and told, whatever was done to the clock."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.messages.jobs import Answer, Answered, AnyWork, Heard, Job, Parked, Remember, Say
from bus.moments import Moment, age_s, this_moment
from tests.unit.bus.plane import Plane, speech, told

SECOND = 1_000_000_000
TIMES = st.integers(0, 2**62)


@given(then=st.builds(Moment, st.just("b"), TIMES, TIMES), passed_s=st.integers(0, 10**6), wall_ns=TIMES)
def test_within_one_run_of_the_machine_no_clock_that_is_set_changes_an_age(then: Moment, passed_s: int, wall_ns: int) -> None:
    assert age_s(then, Moment("b", then.boot_ns + passed_s * SECOND, wall_ns)) == passed_s


@given(then=st.builds(Moment, st.sampled_from("ab"), TIMES, TIMES), now=st.builds(Moment, st.just("c"), TIMES, TIMES))
def test_over_a_restart_of_the_machine_an_age_is_the_wall_clocks_but_no_less_than_the_uptime(then: Moment, now: Moment) -> None:
    age = age_s(then, now)
    if now.wall_ns < then.wall_ns:
        assert age is None
    else:
        assert age == max((now.wall_ns - then.wall_ns) / 1e9, now.boot_ns / 1e9)


def test_the_age_of_this_moment_is_next_to_nothing() -> None:
    age = age_s(this_moment(), this_moment())
    assert age is not None
    assert 0 <= age < 5


def work(kind: str) -> AnyWork:
    match kind:
        case "answer":
            return Answer(transcript="where am I", role="guide", system="", max_tokens=64, rounds=[])
        case "heard":
            return Heard(transcript="where am I")
        case "answered":
            return Answered(transcript="where am I", role="guide", reply="Rome.", finish_reason="stop", model="m")
        case "remember":
            return Remember(role="guide", state="answered", transcript="where am I", reply="Rome.")
    return Parked(failed_stage="answer", reason="on fire", transcript="where am I")


def submit(plane: Plane, job: Job) -> None:
    vad = plane.client("vad")
    vad.submit(job, b"pcm" if job.stage == "transcribe" else None)
    plane.until(lambda: not vad.outstanding)


def later(plane: Plane, seconds: float, *, boot: str = "boot", wall_s: float | None = None) -> None:
    """The next run begins so much later; `wall_s` is what the wall clock makes of it."""
    then = plane.moment
    wall_ns = then.wall_ns + round((seconds if wall_s is None else wall_s) * SECOND)
    plane.moment = Moment(boot, then.boot_ns + round(seconds * SECOND), wall_ns)
    plane.begin_next_run()


@pytest.mark.parametrize("kind", ["heard", "answer"])
def test_an_old_turn_is_not_answered_but_kept_as_unanswered_with_its_words_and_told(plane: Plane, kind: str) -> None:
    submit(plane, Job(turn="a", stream="mic", work=work(kind), marks={"committed": 7}))
    spoken_ns = plane.moment.wall_ns
    later(plane, 301)
    assert plane.left == [(1, spoken_ns)]
    _, answers = plane.worker("llm", "llm")
    _, turns = plane.worker("dialogue", "turn")
    plane.until(lambda: turns)
    notice = turns[0].job.work
    assert isinstance(notice, Parked)
    assert (notice.aloud, notice.transcript, notice.failed_stage) == (False, "where am I", kind)
    turns[0].done()
    plane.until(lambda: not plane.spool.load())
    assert not answers
    assert [(info.stage, info.state) for info in plane.jobs()] == [(kind, "parked")]  # so it can be answered after all


def test_an_old_answer_is_not_spoken_out_of_the_blue_but_remembered_and_nobody_calls_it_unanswered(plane: Plane) -> None:
    then = Remember(role="guide", state="answered", transcript="where am I", reply="Rome.")
    submit(plane, Job(turn="a", stream="mic", work=Say(attempt=10_001, then=then)))
    later(plane, 301)
    _, voices = plane.worker("tts", "say")
    _, ends = plane.worker("memory", "memory")
    plane.until(lambda: ends)
    kept = ends[0].job.work
    assert isinstance(kept, Remember)
    assert (kept.state, kept.reply, kept.detail) == ("answered", "Rome.", "not spoken: the assistant was not running")
    assert plane.left == []
    assert not voices
    assert plane.spool.parked() == []


def test_an_old_turn_tells_who_had_it_when_everything_ended(plane: Plane) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    submit(plane, speech())
    plane.until(lambda: leases)
    plane.advance(2)
    leases[0].failed("no luck", retry=True)
    plane.until(lambda: plane.counted == ["jobs-requeued"])
    plane.advance(1)
    plane.until(lambda: len(leases) == 2)
    plane.advance(1)
    later(plane, 301)
    _, turns = plane.worker("dialogue", "turn")
    plane.until(lambda: turns)
    assert told(turns[0].job) == [
        ("transcribe", "whisper-1", 1, 0, 2, "no luck"),
        ("transcribe", "whisper-1", 2, 4, 4, "left unanswered: the assistant was not running"),
    ]


def test_the_sound_of_an_old_turn_that_was_not_transcribed_is_kept_with_it(plane: Plane) -> None:
    submit(plane, speech())
    later(plane, 301)
    (parked,) = plane.spool.parked()
    assert parked.job == speech()
    assert plane.spool.payload(speech().id) == b"pcm"


@pytest.mark.parametrize(("seconds", "left"), [(299, []), (301, [1])])
def test_a_young_turn_goes_on_after_a_new_start(plane: Plane, seconds: float, left: list[int]) -> None:
    submit(plane, speech())
    later(plane, seconds)
    assert [number for number, _ in plane.left] == left
    assert bool(plane.spool.parked()) == bool(left)


def test_a_turn_is_as_old_as_its_first_job_and_not_as_its_last(plane: Plane) -> None:
    _, leases = plane.worker("whisper-1", "stt")
    submit(plane, speech())
    plane.until(lambda: leases)
    plane.advance(250)
    leases[0].done([Job(turn="a", stream="mic", work=work("heard"))])
    plane.until(lambda: [stored.job.stage for stored in plane.spool.load()] == ["heard"])
    later(plane, 100)
    assert len(plane.left) == 1


@pytest.mark.parametrize(
    ("boot", "seconds", "wall_s", "left"),
    [
        ("boot", 10, 7200, False),  # set hours forward: young all the same
        ("boot", 7200, 10, True),  # set hours back: old all the same
        ("boot", 7200, -7200, True),
        ("next boot", 60, 100, False),
        ("next boot", 60, 7200, True),
        ("next boot", 60, -100, True),  # nobody knows how old it is: rather kept than answered out of the blue
        ("next boot", 7200, 100, True),  # the machine has been up for longer than that
    ],
)
def test_a_clock_that_was_set_makes_no_old_turn_young(plane: Plane, boot: str, seconds: float, wall_s: float, left: bool) -> None:
    submit(plane, speech())
    later(plane, seconds, boot=boot, wall_s=wall_s)
    assert bool(plane.left) is left


def test_a_dispatcher_that_dies_within_a_run_goes_on_with_turns_of_any_age(plane: Plane) -> None:
    submit(plane, speech())
    plane.advance(1000)
    plane.die()
    plane.start()
    assert not plane.left
    _, leases = plane.worker("whisper-1", "stt")
    plane.until(lambda: leases)


@pytest.mark.parametrize("kind", ["answered", "remember"])
def test_an_old_turn_that_was_answered_is_remembered_as_that(plane: Plane, kind: str) -> None:
    submit(plane, Job(turn="a", stream="mic", work=work(kind)))
    later(plane, 301)
    assert not plane.left
    assert [stored.job.stage for stored in plane.spool.load()] == [kind]


def test_an_old_apology_is_not_spoken_any_more(plane: Plane) -> None:
    submit(plane, Job(turn="a", stream="mic", work=work("parked")))
    later(plane, 301)
    _, turns = plane.worker("dialogue", "turn")
    plane.until(lambda: turns)
    assert turns[0].job.work == Parked(failed_stage="answer", reason="on fire", transcript="where am I", aloud=False)
    later(plane, 301)  # not even told to the user again
    assert len(plane.left) == 1
    assert len(plane.spool.load()) == 1


def test_while_the_disk_cannot_be_written_old_turns_wait_and_are_not_answered(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(plane, speech())

    def full(*_arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("bus.spool.Spool.park", full)
        later(plane, 301)
        _, leases = plane.worker("whisper-1", "stt")
        plane.until(lambda: plane.knows_worker("whisper-1/1"))
        plane.dispatcher.tick()
        assert not plane.left
    plane.dispatcher.tick()
    assert len(plane.left) == 1
    plane.jobs()
    assert not leases
    assert [stored.job for stored in plane.spool.parked()] == [speech()]
