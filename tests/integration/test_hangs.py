"""Every kind of hang is caught in time, leaves its stacks in the log, and holds nobody else up.

Real actors, planes and launcher. The deadlines are short ones; the figures for the real ones stand in docs/operations.md.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
import zmq

from bus.addresses import Addresses
from bus.codec import Stamp
from bus.jobs import JobClient, Lease
from bus.messages.control import ActorInfo, ControlDone, ControlRestart, ControlState, ControlStatus
from bus.messages.jobs import Heard, Job, Transcribe
from bus.settings import InstanceSettings, Settings, dump_resolved
from supervisor.control import ask
from supervisor.instance import is_running
from tests.waiting import pump_until

SLACK_S = 10.0
WATCHDOG_S = 2.0
HANDLING_S = 2.0
IMPORTING_S = 10.0
"""Of the one that never comes to its end; the imports of the others may take as long as a busy machine makes them."""
STOP_S = 1.5
DEADLINE_S = 60.0
PATIENCE = {
    "restart": {"initial_s": 0.05, "max_s": 0.5, "budget": 3, "window_s": 60.0},
    "first_beat_s": 30.0,
    "stop_s": STOP_S,
    "stacks_s": 8.0,
}

# The kind of hang, the deadline that catches it, what the launcher says, and a function that the stacks must show.
ON_A_JOB = [
    ("sigstop", WATCHDOG_S, "hung in phase (idle|handling) (no beat)", "be_stopped"),
    ("busy", HANDLING_S, "hung in phase handling (over its deadline)", "count_for_ever"),
    ("gil", WATCHDOG_S, "hung in phase (idle|handling) (no beat)", "sleep_in_native_code_with_the_gil"),
    ("lock", HANDLING_S, "hung in phase handling (over its deadline)", "wait_for_a_lock_that_nobody_gives_back"),
    ("decode", 1.0, "hung in phase transcribing (over its deadline)", "decode_for_ever"),
]


class Workers:
    """Two workers of one queue under a launcher of their own; the test hands out the work and takes the results."""

    def __init__(self, directory: Path, first: str, hang: str) -> None:
        self.addresses = Addresses(directory / "r", directory / "s")
        self.addresses.prepare()
        instance = InstanceSettings(str(self.addresses.runtime_dir), str(self.addresses.state_dir))
        self.addresses.config.write_bytes(dump_resolved(Settings(instance=instance)))
        self.first = first
        importing = {} if hang else {"importing_s": IMPORTING_S}
        quick = {"DEADLINES": json.dumps({"handling_s": HANDLING_S, **importing})}
        children = [
            {"name": "broker", "program": "actor broker", "base": True, "watchdog_s": 20.0},
            {"name": "dispatcher", "program": "actor dispatcher", "base": True, "watchdog_s": 20.0},
            {"name": "hanger-2", "program": "actor hanger-2", "watchdog_s": 20.0},
            # Once the other can work, so that no successor of the one that hangs is quicker.
            {"name": first, "program": f"actor {first}", "wave": 1, "watchdog_s": WATCHDOG_S, "env": {**quick, "HANG": hang}},
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.launch", json.dumps(children), json.dumps(PATIENCE)],
            env={**os.environ, **self.addresses.environ},
        )
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._jobs = JobClient(self._context, self.addresses.jobs, Stamp("test", "1"))
        self.submitted: list[str] = []
        self.done_by: dict[str, str] = {}
        self._jobs.work("turn", self._on_result)

    def _on_result(self, lease: Lease) -> None:
        assert isinstance(lease.job.work, Heard)
        self.done_by[lease.job.turn] = lease.job.work.transcript
        lease.done()

    def submit_until_one_hangs(self) -> None:
        """The dispatcher gives what comes to whoever is free, so of a few jobs at once each worker gets one."""
        while not self.hangs():
            self.submit(*(f"{len(self.submitted)}-{number}" for number in range(3)))
            self.until(lambda: self.hangs() or len(self.done_by) == len(self.submitted))

    def submit(self, *turns: str) -> None:
        for turn in turns:
            self.submitted.append(turn)
            work = Transcribe(first_sample=0, audio_ms=0, speech_ms=0)
            self._jobs.submit(Job(turn=turn, stream=turn, work=work), bytes(960))

    def until(self, condition: Callable[[], object]) -> None:
        pump_until(condition, self._pump, deadline_s=DEADLINE_S)

    def _pump(self) -> None:
        self._jobs.socket.poll(20)
        while self._jobs.monitor.poll(0):
            self._jobs.notice_connection()
        self._jobs.receive()

    def actor(self, name: str) -> ActorInfo | None:
        if not is_running(self.addresses) or not (self.addresses.runtime_dir / "control").exists():
            return None
        return next(actor for actor in ask(self.addresses, ControlStatus(), ControlState, DEADLINE_S).actors if actor.actor == name)

    def is_ready(self, name: str, restarts: int = 0) -> bool:
        found = self.actor(name)
        return found is not None and (found.state, found.restarts) == ("ready", restarts)

    def hangs(self) -> bool:
        return (self.addresses.state_dir / "hangs").exists()

    def log(self, name: str) -> str:
        return (self.addresses.logs_dir / f"{name}.log").read_text()

    def caught_after_s(self) -> float:
        """From the hang to the end of the process."""
        incarnation, since_s = (self.addresses.state_dir / "hangs").read_text().split()
        (ended,) = re.findall(rf"^(\S+) {self.first} {re.escape(incarnation)} ended", self.log("launcher"), re.MULTILINE)
        return datetime.fromisoformat(ended).timestamp() - float(since_s)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._context.destroy(linger=0)


@pytest.fixture
def workers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    there = Workers(tmp_path_factory.mktemp("h"), *request.param)
    yield there
    there.close()


def assert_caught(workers: Workers, deadline_s: float, stack: str) -> None:
    workers.until(lambda: workers.is_ready(workers.first, restarts=1))
    caught_s = workers.caught_after_s()
    print(f"caught after {caught_s:.2f} s, its deadline was {deadline_s:g} s")  # shown with -rP
    assert caught_s < deadline_s + SLACK_S
    assert stack in workers.log(workers.first)


@pytest.mark.parametrize(
    ("workers", "deadline_s", "told", "stack"),
    [(("hanger-1", kind), *rest) for kind, *rest in ON_A_JOB],
    ids=[row[0] for row in ON_A_JOB],
    indirect=["workers"],
)
def test_a_worker_that_hangs_on_a_job_is_replaced_and_the_job_is_done_by_the_other(
    workers: Workers, deadline_s: float, told: str, stack: str
) -> None:
    workers.until(lambda: workers.is_ready("hanger-1") and workers.is_ready("hanger-2"))
    workers.submit_until_one_hangs()
    workers.submit("late")
    workers.until(lambda: len(workers.done_by) == len(workers.submitted))
    assert set(workers.done_by.values()) == {"hanger-2"}
    assert_caught(workers, deadline_s, stack)
    assert re.search(re.escape(told).replace(r"\(idle\|handling\)", "(idle|handling)"), workers.log("launcher"))


@pytest.mark.parametrize("workers", [("late-importer", "")], indirect=True)
def test_an_import_that_does_not_end_is_replaced_and_the_jobs_are_done_by_the_other(workers: Workers) -> None:
    workers.until(workers.hangs)
    workers.submit("one", "two")
    workers.until(lambda: len(workers.done_by) == 2)
    assert set(workers.done_by.values()) == {"hanger-2"}
    assert_caught(workers, IMPORTING_S, "hang_in_import.py")
    assert "hung in phase importing (over its deadline)" in workers.log("launcher")


@pytest.mark.parametrize("workers", [("hanger-1", "stop")], indirect=True)
def test_a_worker_that_does_not_stop_is_replaced_and_the_jobs_are_done_by_the_other(workers: Workers) -> None:
    workers.until(lambda: workers.is_ready("hanger-1") and workers.is_ready("hanger-2"))
    ask(workers.addresses, ControlRestart(actor="hanger-1"), ControlDone)
    workers.until(workers.hangs)
    workers.submit("one", "two")
    workers.until(lambda: len(workers.done_by) == 2)
    assert_caught(workers, STOP_S, "wait_for_a_thread_that_never_ends")
