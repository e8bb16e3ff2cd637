"""What is kept of a crash, and whether it happens again."""

from __future__ import annotations

import json
import signal

from bus.recording import Recording
from tests.e2e.assistant import PATIENT, SPEECH, Assistant, assistant, lines
from tests.waiting import wait_until


def crashes(running: Assistant) -> list[dict[str, object]]:
    return lines(running.run("crashes", "list", "--json").stdout)


def test_of_a_worker_that_hung_its_stacks_its_job_and_the_bus_are_kept_and_the_job_can_be_tried_again() -> None:
    # Stopped before it gets the job, so that it does not finish it; and watched so patiently that it has the job when it is killed. The
    # job is no work ahead of time, which is nowhere written down.
    with assistant("whisper.workers=1", PATIENT, "vad.pause_ms=0") as running:
        running.kill("whisper-1", signal.SIGSTOP)
        (turn,) = running.hear(SPEECH / "sum-rms.wav")
        assert turn["reply"] == "Two plus three is five."
        wait_until(lambda: crashes(running))
        (crash,) = crashes(running)
        assert crash["actor"] == "whisper-1"
        assert str(crash["job_id"]).startswith(f"{turn['turn']}/transcribe/")
        assert "hung" in str(crash["reason"])
        place = running.addresses.crashes_dir / str(crash["name"])
        assert place.stat().st_mode & 0o077 == 0
        assert "most recent call first" in (place / "log.txt").read_text()
        assert any(getattr(item.what, "topic", "") == "job.moved" for item in Recording(place / "bus.mcap"))
        assert "api_key" not in {key for table in json.loads((place / "config.json").read_text()).values() for key in table}
        shown = running.run("crashes", "show").stdout
        assert "most recent call first" in shown
        assert str(place) in shown
        assert "without a fault" in running.run("crashes", "replay", "whisper-1").stdout
        running.run("memory", "forget", "--all", "--yes")
        assert not (place / "payload.raw").exists()
        assert (place / "summary.json").exists()


def test_without_a_crash_it_says_so(running: Assistant) -> None:
    done = running.run("crashes", "show", check=False)
    assert done.returncode == 1
    assert "no crash is kept" in done.stderr
    assert crashes(running) == []
