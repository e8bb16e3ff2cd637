"""The whole attack on one assistant, and what it came to."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import zmq

from bus.codec import Stamp
from bus.jobs import query_jobs
from bus.messages.control import ControlState
from bus.messages.jobs import JobInfo
from supervisor import client
from tests.e2e.assistant import COMMAND_TIMEOUT_S, PATIENT, SPEECH, Assistant, assistant, words
from tests.fuzz import scenarios
from tests.fuzz.targets import Control, Events, FakeSource, History, Jobs, Loudspeaker, Target
from tests.waiting import wait_until

SILENCE_S = 3600
OPTIONS = (
    PATIENT,
    *("mic.source=file", "mic.pace=real", "rehearsal_llm.first_token_delay_ms=0", "rehearsal_llm.token_delay_ms=0"),
    *("tts.engine=espeak", "speaker.output=none", "speaker.pace=fast"),
)
COUNTED_BY = "messages-malformed"
GROWTH_BYTES = 40_000_000
GROWTH = 0.2
WARM = 0.3
"""After this part of the messages memory is looked at for the first time."""
REST = 8
SETTLE_S = 60.0


@dataclass
class Report:
    """What was said, and what became of the assistant."""

    seed: str
    rows: list[tuple[str, str, int, int]] = field(default_factory=list)
    """(socket, kind, said, of these bad)."""
    counted: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """By who counts: (bad messages said to it, bad events that may have come to it beside them, counted)."""
    others: dict[str, str] = field(default_factory=dict)
    restarted: list[str] = field(default_factory=list)
    memory_bytes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Resident, by actor: after the first part of the messages, and at the end."""
    reply: str = ""
    """The answer to a sentence spoken afterwards."""
    seconds: float = 0.0

    @property
    def said(self) -> int:
        return sum(row[2] for row in self.rows)

    @property
    def miscounted(self) -> list[str]:
        """Who has not counted what was said."""
        return [who for who, (bad, perhaps, counted) in self.counted.items() if not bad <= counted <= bad + perhaps]

    @property
    def grown(self) -> list[str]:
        """The actors whose memory grew by more than it may."""
        return [actor for actor, (warm, end) in self.memory_bytes.items() if end - warm > max(GROWTH_BYTES, GROWTH * warm)]


@contextmanager
def victim() -> Iterator[Assistant]:
    """An assistant whose microphone hears an hour of silence."""
    with tempfile.TemporaryDirectory(prefix="earfuzz") as directory:
        silence = Path(directory) / "silence.flac"
        soundfile.write(silence, np.zeros(SILENCE_S * 16_000, np.int16), 16_000)
        with assistant(*OPTIONS, f"mic.file={silence}") as running:
            yield running


def attack(victim: Assistant, seed: str, messages: int) -> Report:
    """Say so many messages, then let it hear a sentence. Raise AssertionError when a socket no longer answers."""
    begun_s = time.monotonic()
    report = Report(seed)
    before = client.status(victim.addresses)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    tap = victim.popen("tap", "--json", "speech")
    try:
        targets = _targets(context, victim, seed)
        _say_and_count(victim, targets, round(messages * WARM), report)
        warm = client.status(victim.addresses)
        _scenarios(context, victim, before, report, messages)
        _say_and_count(victim, targets, messages - round(messages * WARM), report)
        for target in targets:
            report.rows += [(target.name, kind, said, target.bad[kind]) for kind, said in sorted(target.said.items())]
            target.close()
        _wait_for_jobs(context, victim, before)
        after = client.status(victim.addresses)
        report.memory_bytes = _memory(warm, after)
        (turn,) = victim.hear(SPEECH / "sum-rms.wav")
        assert words(turn["transcript"]) == words("what is two plus three"), turn
        report.reply = str(turn["reply"])
        report.restarted = _restarted(victim, before)
        _end_tap(tap, report)
    finally:
        tap.kill()
        context.destroy(linger=0)
    report.seconds = time.monotonic() - begun_s
    return report


def _targets(context: zmq.Context[zmq.Socket[bytes]], victim: Assistant, seed: str) -> list[Target]:
    addresses = victim.addresses
    return [
        Jobs(context, addresses.jobs, seed),
        Control(context, addresses.control, seed),
        History(context, addresses.audio_history("mic"), seed),
        Loudspeaker(context, addresses.voice, seed),
        FakeSource(context, addresses, seed),
        Events(context, addresses, seed),
    ]


def _say(targets: list[Target], messages: int) -> None:
    """In turns, so that every socket is under attack all the time."""
    total = sum(target.share for target in targets)
    goals = {target: sum(target.said.values()) + messages * target.share / total for target in targets}
    while any(sum(target.said.values()) < goal for target, goal in goals.items()):
        for target, goal in goals.items():
            if sum(target.said.values()) < goal:
                target.say()


def _scenarios(context: zmq.Context[zmq.Socket[bytes]], victim: Assistant, state: ControlState, report: Report, messages: int) -> None:
    addresses, seed = victim.addresses, report.seed
    part = max(200, messages // 100)
    with scenarios.half_open(addresses, min(40, part // 10)) as opened:
        report.rows.append(("unix sockets", "no ZeroMQ", scenarios.raw_bytes(addresses, seed, part), 0))
        closed = sum(map(scenarios.is_closed_by_peer, opened))
        report.others["half open"] = f"{len(opened)} connections, {closed} of them closed by the other side"
        assert closed == len(opened), report.others
    taken = scenarios.datagrams(addresses, seed, 2 * part)
    report.rows.append(("notify", "datagrams", 2 * part, 0))
    report.others["notify"] = f"{2 * part} datagrams, {taken} taken by the kernel; all from a process that is no child, and so ignored"
    said, refused = scenarios.flood_of_jobs(context, addresses.jobs, 3000)
    report.rows.append(("jobs", "flood of new jobs", said, 0))
    report.others["flood of jobs"] = f"{said} submitted, {refused} refused"
    stolen = scenarios.stolen_names(context, addresses.jobs, state.actors, seed)
    report.rows.append(("jobs", "under stolen names", stolen, 0))
    report.rows.append(("control", "flood of restarts", scenarios.flood_of_commands(context, addresses.control, part), 0))


def _say_and_count(victim: Assistant, targets: list[Target], messages: int, report: Report) -> None:
    """Say so many, and look how much the actors' own counts of bad messages have grown meanwhile."""
    before, expected_before = _settled(victim), _expected(targets)
    for target in targets:
        if isinstance(target, Events):
            target.catch_up()
    seen_before, perhaps_before = _seen(targets), _perhaps(targets)
    _say(targets, messages)
    expected = _expected(targets)
    expected.subtract(expected_before)

    def counted() -> Counter[str]:
        now = _counts(victim) + _seen(targets)
        now.subtract(before + seen_before)
        return now

    with suppress(AssertionError):  # what is missing stands in the report
        wait_until(lambda: all(counted()[who] >= number for who, number in expected.items()), interval_s=0.5)
    _settled(victim)
    found = counted()
    perhaps = _perhaps(targets)
    perhaps.subtract(perhaps_before)
    for who, number in expected.items():
        said, beside, total = report.counted.get(who, (0, 0, 0))
        report.counted[who] = (said + number, beside + perhaps[who], total + found[who])


def _expected(targets: list[Target]) -> Counter[str]:
    """Bad messages by who must count them."""
    return Counter({target.counted_by: target.bad.total() for target in targets})


def _perhaps(targets: list[Target]) -> Counter[str]:
    """Bad messages by who counts them if they come to it: events may be lost, and what is wrong with sound hangs on what was before."""
    return sum((target.elsewhere for target in targets), Counter())


def _seen(targets: list[Target]) -> Counter[str]:
    return Counter({target.counted_by: target.seen_bad for target in targets if isinstance(target, Events)})


def _counts(victim: Assistant) -> Counter[str]:
    state = client.status(victim.addresses)
    found = {actor.actor: actor.losses.get(COUNTED_BY, 0) for actor in state.actors}
    return Counter(found | {"launcher": state.losses.get(COUNTED_BY, 0)})


def _settled(victim: Assistant) -> Counter[str]:
    """The counts once they rest: an actor tells its own to the launcher once a second."""
    history = [_counts(victim)]

    def rests() -> bool:
        history.append(_counts(victim))
        return len(history) > REST and all(counts == history[-1] for counts in history[-REST:])

    wait_until(rests, interval_s=0.25)
    return history[-1]


def _wait_for_jobs(context: zmq.Context[zmq.Socket[bytes]], victim: Assistant, before: ControlState) -> None:
    """Wait until all that was submitted is done, however much it is, as long as it goes on."""
    seen: list[JobInfo] = []
    quiet_since_s = time.monotonic()
    while True:
        jobs = query_jobs(context, victim.addresses.jobs, Stamp("fuzz", "1"), "", 20)
        waiting = [job for job in jobs if job.state != "parked"]
        if not waiting:
            return
        if waiting != seen:
            seen, quiet_since_s = waiting, time.monotonic()
        stages = Counter((job.stage, job.state) for job in waiting)
        assert time.monotonic() < quiet_since_s + SETTLE_S, f"nothing moves any more: {stages}; restarted: {_restarted(victim, before)}"
        time.sleep(0.5)


def _restarted(victim: Assistant, before: ControlState) -> list[str]:
    """Whoever has another life than before, with the reason and the end of its log."""
    after = {actor.actor: actor for actor in client.status(victim.addresses).actors}
    found = [after[actor.actor] for actor in before.actors if after[actor.actor].incarnation != actor.incarnation]
    return [f"{actor.actor} ({actor.last_exit}):\n{_end_of_log(victim, actor.actor)}" for actor in found]


def _end_of_log(victim: Assistant, actor: str) -> str:
    """The last traceback, or the last lines."""
    lines = (victim.addresses.logs_dir / f"{actor}.log").read_text(errors="replace").splitlines()
    begins = [number for number, line in enumerate(lines) if line.startswith("Traceback")]
    return "\n".join(lines[begins[-1] :][:40] if begins else lines[-10:])


def _memory(warm: ControlState, end: ControlState) -> dict[str, tuple[int, int]]:
    sizes = {actor.actor: actor.rss_bytes for actor in end.actors}
    return {actor.actor: (actor.rss_bytes, sizes[actor.actor]) for actor in warm.actors}


def _end_tap(tap: subprocess.Popen[str], report: Report) -> None:
    assert tap.poll() is None, f"the tap ended: {tap.communicate()[1]}"
    tap.terminate()
    out, _ = tap.communicate(timeout=COMMAND_TIMEOUT_S)
    report.others["tap"] = f"lived, and saw {out.count('speech.ended')} utterances"
