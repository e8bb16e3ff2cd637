"""Work that was given up, and turns that a new start finds too old: kept, told, and answered after all when the user wants it."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest

from tests.e2e.assistant import COMMAND_TIMEOUT_S, PATIENT, SPEECH, Assistant, assert_adds_up, assistant, everything_in, lines, words
from tests.waiting import wait_until

SUM = "what is two plus three"


def parked(running: Assistant, *options: str) -> list[dict[str, object]]:
    return lines(running.run("parked", "list", "--json", *options).stdout)


def kill_all(running: Assistant) -> None:
    """As a power cut leaves it: nobody says goodbye."""
    launcher = int((running.addresses.runtime_dir / "lock").read_text())
    pids = [actor["pid"] for actor in running.status().values()]
    os.kill(launcher, signal.SIGKILL)
    for pid in pids:
        with_no_process(pid)


def with_no_process(pid: int) -> None:
    def gone() -> bool:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return True
        return False

    wait_until(gone)


def leave_a_turn_open(running: Assistant) -> None:
    """Speak a sentence, and kill everything while the answer is being waited for."""
    with running.events("reply.") as events:
        hearing = running.popen("hear", "--json", str(SPEECH / "sum-rms.wav"))
        events.wait_for("reply.started")
    kill_all(running)
    hearing.kill()
    hearing.communicate()


def test_what_was_given_up_is_listed_and_answered_after_all_in_the_place_of_the_failure() -> None:
    with assistant("llm.model=nonesuch", "jobs.max_attempts=1", "llm.preemptive=false", PATIENT) as broken:
        (turn,) = broken.hear(SPEECH / "sum-rms.wav")
        assert turn["state"] == "failed"
        (job,) = parked(broken)
        assert (job["turn"], job["stage"], job["attempts"]) == (turn["turn"], "answer", 1)
        assert "nonesuch" in str(job["reason"])
        assert "plus" not in broken.run("parked", "list").stdout
        assert "plus" in broken.run("parked", "list", "--words").stdout
        broken.stop()
        refused = broken.run("parked", "retry", "--all", check=False)
        assert refused.returncode == 1
        assert "no assistant is running" in refused.stderr
        broken.options = ("--set", PATIENT)
        broken.start()
        with broken.events("turn.") as events:
            broken.run("parked", "retry", turn["turn"])
            late = events.wait_for("turn.finished").body
        assert getattr(late, "late", False)
        assert parked(broken) == []
        kept = broken.remembered()
        assert [(record["turn"], record["state"], record["reply"]) for record in kept] == [
            (turn["turn"], "answered", "Two plus three is five.")
        ]
        assert kept[0]["detail"] == "answered late"
        (told,) = lines(broken.run("turns", "--json").stdout)
        assert_adds_up(told)
        assert [(one["stage"], one["lost"]) for one in told["attempts"]] == [("answer", ""), ("answered", "")]


@pytest.mark.parametrize("running", [True, False], ids=["beside-the-assistant", "without-an-assistant"])
def test_what_was_given_up_is_dropped_with_all_that_was_said(running: bool) -> None:
    with assistant("llm.model=nonesuch", "jobs.max_attempts=1", "llm.preemptive=false", PATIENT) as broken:
        broken.hear(SPEECH / "sum-rms.wav")
        (job,) = parked(broken)
        if not running:
            broken.stop()
        unknown = broken.run("parked", "drop", "nonesuch", check=False)
        assert unknown.returncode == 1
        assert "no given-up job is called nonesuch; see `supervisor parked list`" in unknown.stderr
        nothing = broken.run("parked", "drop", check=False)
        assert "--all" in nothing.stderr
        assert broken.run("parked", "drop", str(job["job"])).stdout == "1 job is dropped.\n"
        assert broken.run("parked", "list").stdout == "Nothing was given up.\n"
        broken.stop()
        spool = b"".join(path.read_bytes() for path in broken.addresses.state_dir.glob("spool*"))
        assert b"plus" not in spool
        assert b"plus" in everything_in(broken.addresses.state_dir)  # memory keeps its turns until they are forgotten


def test_a_turn_that_is_too_old_at_a_new_start_is_kept_as_unanswered_and_can_be_answered_after_all() -> None:
    with assistant("rehearsal_llm.first_token_delay_ms=20000", PATIENT) as first:
        leave_a_turn_open(first)
        first.options = ("--set", "jobs.resume_max_age_s=0", "--set", PATIENT)
        with_console = first.popen("start", "--config", "config/rehearsal.toml", *first.options)
        try:
            wait_until(lambda: first.run("memory", "export", check=False).stdout)
            (record,) = first.remembered()
            assert (record["state"], words(record["transcript"]), record["reply"]) == ("unanswered", words(SUM), "")
            (told,) = lines(first.run("turns", "--json").stdout)
            assert_adds_up(told)
            lost = [(one["stage"], one["lost"]) for one in told["attempts"] if one["lost"]]
            assert lost == [("answer", "left unanswered: the assistant was not running")]
            first.wait_until(first.is_ready)
            with first.events("turn.") as events:
                first.run("parked", "retry", "--all")
                events.wait_for("turn.finished")
            assert [(kept["state"], kept["reply"]) for kept in first.remembered()] == [("answered", "Two plus three is five.")]
        finally:
            first.stop()
            shown, _ = with_console.communicate(timeout=COMMAND_TIMEOUT_S)
    assert "1 turn from" in shown
    assert "left unanswered; see `supervisor memory list`" in shown
    assert Counter(shown.splitlines())["AI  : Two plus three is five."] == 1
    assert shown.index("left unanswered") < shown.index("A late answer:") < shown.index("AI  : Two plus three")
