"""One run: the sounds, the assistant, a hearing of each script without faults, then all of them under faults, and the verdict."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import zmq

from bench.instance import BenchError
from bus.codec import Stamp
from bus.errors import NoInstance
from bus.events import Publisher, Subscriber, wait_until_heard
from bus.jobs import query_jobs
from bus.messages.base import Message
from bus.messages.jobs import JobInfo
from chaos import sounds
from chaos.faults import SOURCE, Fault
from chaos.judge import Finding, Play, Record, Utterance, first_sample_of, judge, nearest
from chaos.speakers import Speakers, Spoken
from chaos.striker import Strike, Striker
from chaos.world import SETTINGS, UNNATURAL, World, world
from supervisor.drain import is_open
from supervisor.remembered import remembered
from supervisor.views.events import json_line

SCRIPT_TURNS = 8
MOST_SCRIPTS = 12
AT_ONCE = 2
"""Speakers, as many as there are Whisper workers."""
PATIENCE_S = 120.0
"""A file of eight turns that is not through by then is stuck; without faults it takes two seconds."""
COME_BACK_S = 30.0
DRAIN_S = 60.0
TELL_S = 10.0
LOOK_MS = 5
ASK_S = 2.0
STAMP = Stamp("chaos", "1")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    turns: int
    strikes: Sequence[Strike]
    missed: Sequence[Fault]
    findings: Sequence[Finding]
    events: Mapping[str, int]
    """Events heard, by topic."""
    took_s: float
    """The part under faults."""
    calm_s_per_turn: float
    """Without faults, in the same run."""
    slowest: Spoken
    """The stream that took longest."""
    evidence: Path | None = None
    """Where logs, events, spool and sounds of the run are, when there are findings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be run."""

    seed: int
    """Of the sounds."""
    turns: int
    faults: Sequence[Fault]
    settings: Sequence[str] = ()
    """Further `--set` options."""
    bad_workers: Sequence[str] = ()
    """Kinds of bad transcribers to run beside the real ones."""
    keep: bool = False
    """Keep the evidence of a run without findings too."""
    tell: Callable[[str], None] = print
    """Gets a line for the user now and then."""


def run(task: Task) -> Outcome:
    """Carry it out. Raises BenchError when the assistant does not work without faults; its directory is kept then."""
    directory = Path(tempfile.mkdtemp(prefix="ec-"))
    files = write_scripts(directory, task.seed, task.turns)
    with ExitStack() as stack:
        running = stack.enter_context(world(directory, (*SETTINGS, *UNNATURAL, *task.settings), task.bad_workers))
        events = stack.enter_context(_events(running, directory / "events.jsonl"))
        outcome = _Run(task, directory, files, running, events).carry_out()
    if outcome.findings or task.keep:
        return replace(outcome, evidence=directory)
    shutil.rmtree(directory, ignore_errors=True)
    return outcome


class _Run:
    """A run in an assistant that is ready."""

    def __init__(self, task: Task, directory: Path, files: Sequence[Path], running: World, events: Events) -> None:
        self._task = task
        self._directory = directory
        self._files = files
        self._running = running
        self._events = events
        self._plays: dict[str, list[Utterance]] = {}
        """By stream, what is expected of it."""

    def carry_out(self) -> Outcome:
        begun_s = time.monotonic()
        expected = self._listen_calmly()
        calm_s = (time.monotonic() - begun_s) / sum(map(len, expected))
        self._task.tell(f"{len(self._files)} scripts of {SCRIPT_TURNS} turns heard without faults, {calm_s:.2f} s a turn")
        self._plays = {f"p{number}": expected[number % len(expected)] for number in range(self._task.turns // SCRIPT_TURNS)}
        striker = Striker(self._running, self._task.faults, self._turn_number)
        begun_s = time.monotonic()
        spoken = self._listen(striker)
        took_s = time.monotonic() - begun_s
        left = self._drained()
        _write_strikes(self._directory / "strikes.jsonl", striker.strikes)
        return Outcome(
            turns=len(self._plays) * SCRIPT_TURNS,
            strikes=striker.strikes,
            missed=striker.missed,
            findings=self._judge(spoken, striker.strikes, left),
            events=dict(self._events.counts),
            took_s=took_s,
            calm_s_per_turn=calm_s,
            slowest=max(spoken, key=lambda found: found.took_s),
        )

    def _listen_calmly(self) -> list[list[Utterance]]:
        """What each script gives without faults."""
        jobs = [(f"calm{number}", file) for number, file in enumerate(self._files)]
        speakers = Speakers(self._running, self._directory, jobs, at_once=AT_ONCE, patience_s=PATIENCE_S)
        while not speakers.over:
            speakers.step()
            time.sleep(LOOK_MS / 1000)
        for found in speakers.spoken:
            if found.overdue or found.complaint:
                raise BenchError(f"without faults: {found.complaint or 'not over by the deadline'}")
        records = self._records()
        for stream, file in jobs:
            if len(records[stream]) != SCRIPT_TURNS:
                raise BenchError(f"{file} has {SCRIPT_TURNS} sayings, and {len(records[stream])} turns came of it without faults")
        return [[Utterance(found.first_sample, found.transcript, found.reply) for found in records[stream]] for stream, _ in jobs]

    def _listen(self, striker: Striker) -> list[Spoken]:
        """Have all of it heard under faults."""
        jobs = [(stream, self._files[number % len(self._files)]) for number, stream in enumerate(self._plays)]
        speakers = Speakers(self._running, self._directory, jobs, at_once=AT_ONCE, patience_s=PATIENCE_S)
        told_s = time.monotonic()
        over = 0
        try:
            while not speakers.over:
                self._running.keep()
                speakers.step()
                for message in self._events.receive(LOOK_MS):
                    striker.on_event(message)
                striker.run_due()
                for found in speakers.spoken[over:]:
                    striker.give_up(found.stream)
                over = len(speakers.spoken)
                if time.monotonic() - told_s > TELL_S:
                    told_s = time.monotonic()
                    self._task.tell(f"{over * SCRIPT_TURNS} turns, {len(striker.strikes)} faults")
            self._wait_for_the_last(striker)
        finally:
            speakers.close()
            striker.release()
        return speakers.spoken

    def _wait_for_the_last(self, striker: Striker) -> None:
        """The last ones to be struck may still be on their way back."""
        end_s = time.monotonic() + COME_BACK_S
        while striker.busy and time.monotonic() < end_s:
            self._running.keep()
            for _ in self._events.receive(LOOK_MS):
                pass
            striker.run_due()

    def _turn_number(self, stream: str, turn: str) -> int | None:
        """The number of a turn in the whole run, None for none of it."""
        if stream not in self._plays or not turn:
            return None
        return int(stream[1:]) * SCRIPT_TURNS + nearest(self._plays[stream], first_sample_of(turn))

    def _drained(self) -> list[JobInfo]:
        """Wait until no job is open, at most DRAIN_S; return what is left, parked jobs with it."""
        end_s = time.monotonic() + DRAIN_S
        found: list[JobInfo] = []
        with zmq.Context() as context:
            while time.monotonic() < end_s:
                with suppress(NoInstance):
                    found = query_jobs(context, self._running.addresses.jobs, STAMP, "", ASK_S)
                    if not any(is_open(job.state) for job in found):
                        break
                time.sleep(0.1)
        return found

    def _judge(self, spoken: Sequence[Spoken], strikes: Sequence[Strike], left: Sequence[JobInfo]) -> list[Finding]:
        records = self._records()
        findings = [Finding("stuck", job.stream, -1, f"{job.job_id} is still open") for job in left if is_open(job.state)]
        findings += [
            Finding("stuck", strike.stream, -1, f"{strike.fault.actor} did not come back after {strike.fault.kind}")
            for strike in strikes
            if strike.recovery_ms is None and strike.fault.actor != SOURCE
        ]
        for found in spoken:
            play = Play(
                stream=found.stream,
                expected=self._plays[found.stream],
                records=records[found.stream],
                shown=found.shown,
                parked=frozenset(job.turn for job in left if job.stream == found.stream and not is_open(job.state)),
                overdue=found.overdue,
                complaint=found.complaint,
            )
            findings += judge(play)
        return findings

    def _records(self) -> defaultdict[str, list[Record]]:
        """What the memory store holds, by stream."""
        records = defaultdict(list)
        for found in remembered(self._running.addresses):
            records[found.stream].append(Record(found.turn, found.state, found.transcript, found.reply))
        return records


def write_scripts(directory: Path, seed: int, turns: int) -> list[Path]:
    """The sounds of a run: a few scripts, each said several times."""
    count = min(MOST_SCRIPTS, max(1, turns // SCRIPT_TURNS // 2))
    files = []
    for number, script in enumerate(sounds.scripts(seed, count, SCRIPT_TURNS, sounds.sayings())):
        files.append(directory / f"script-{number}.wav")
        sounds.write(files[-1], script)
    return files


class Events:
    """Everything on the bus, counted and written down."""

    def __init__(self, subscriber: Subscriber, file: IO[str]) -> None:
        self._subscriber = subscriber
        self._file = file
        self.counts: defaultdict[str, int] = defaultdict(int)

    def receive(self, timeout_ms: int) -> Iterator[Message]:
        """Wait for events at most so long, and yield them."""
        self._subscriber.socket.poll(timeout_ms)
        for message in self._subscriber.receive():
            if message.envelope.stream or message.topic.startswith("actor."):
                self.counts[message.topic] += 1
                self._file.write(json_line(message) + "\n")
                yield message


@contextmanager
def _events(running: World, file: Path) -> Iterator[Events]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = Publisher(context, running.addresses.events_in, STAMP)
    subscriber = Subscriber(context, running.addresses.events_out, ("",))
    try:
        wait_until_heard(publisher, subscriber, 20.0)
        with file.open("w") as output:
            yield Events(subscriber, output)
    finally:
        context.destroy(linger=0)


def _write_strikes(file: Path, strikes: Sequence[Strike]) -> None:
    with file.open("w") as output:
        for strike in strikes:
            fault = strike.fault
            line = {"number": fault.number, "turn": fault.turn, "moment": fault.moment, "actor": fault.actor, "kind": fault.kind}
            line |= {"pid": strike.life.pid, "stream": strike.stream, "struck_ns": strike.struck_ns, "recovery_ms": strike.recovery_ms}
            output.write(json.dumps(line) + "\n")
