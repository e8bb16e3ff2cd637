"""Two machines, as two network namespaces with a cable between them: who gets in, who does not, and what happens when it is cut."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bus.addresses import Addresses
from bus.messages.jobs import JobMoved
from tests.e2e.assistant import COMMAND_TIMEOUT_S, ROOT, SPEECH, SUPERVISOR, Assistant, Events, lines, words
from tests.waiting import wait_until

HOSTS = ("10.231.7.1", "10.231.7.2")
PLACE = f"{HOSTS[0]}:7700"
NOTICED_S = 40.0
"""A connection that is cut is noticed after TCP_HEARTBEAT_TIMEOUT_MS, 4 s."""


def _cannot() -> str:
    """Why there can be no namespaces here; empty when there can."""
    if shutil.which("ip") is None:
        return "there is no `ip` command: install iproute2"
    name = f"ear-probe-{os.getpid()}"
    probe = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if probe.returncode:
        return f"no network namespace can be made: {probe.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


@dataclass
class Machine(Assistant):
    """An assistant, or none, in a network of its own."""

    namespace: str = ""

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace, *SUPERVISOR, *arguments],
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def popen(self, *arguments: str, output: Path | None = None) -> subprocess.Popen[str]:
        assert output is None, "what a program prints in another namespace comes through a pipe"
        return self.python("-m", "supervisor.cli", *arguments)

    def python(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a program of ours on this machine."""
        command = ["ip", "netns", "exec", self.namespace, sys.executable, *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def key(self) -> str:
        """Its public key, as the user reads it."""
        return self.run("keys", "list").stdout.splitlines()[0].split()[-1]

    def incarnations(self) -> dict[str, str]:
        return {name: str(actor["incarnation"]) for name, actor in self.status().items()}

    @property
    def refused(self) -> int:
        """How many strangers it has refused."""
        return int(self.status()["gate"]["losses"].get("strangers-refused", 0))


class Lines:
    """What a program prints, as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self._files = (process.stdout.fileno(), process.stderr.fileno())
        for file in self._files:
            os.set_blocking(file, False)
        self._said = [b"", b""]

    def read(self) -> tuple[str, str]:
        """All of its standard output and standard error so far."""
        for number, file in enumerate(self._files):
            with suppress(BlockingIOError):
                while data := os.read(file, 65_536):
                    self._said[number] += data
        return self._said[0].decode(), self._said[1].decode()

    def events(self) -> list[dict[str, Any]]:
        out, _ = self.read()
        return lines(out[: out.rfind("\n") + 1])

    def wait_for(self, topic: str, **fields: str) -> dict[str, Any]:
        """The first event of that topic and with these fields."""

        def found() -> list[dict[str, Any]]:
            wanted = {"topic": topic, **fields}
            return [event for event in self.events() if wanted.items() <= event.items()]

        wait_until(found, NOTICED_S)
        return found()[0]


@dataclass
class Cable:
    """The link between the two machines, at the end of the second."""

    namespace: str

    def set(self, state: str) -> None:
        subprocess.run(["ip", "-n", self.namespace, "link", "set", "cable", state], check=True)


@pytest.fixture(scope="module")
def networks() -> Iterator[tuple[str, str]]:
    reason = _cannot()
    if reason:
        pytest.skip(reason)
    names = (f"ear-desk-{os.getpid()}", f"ear-attic-{os.getpid()}")
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        ends = ("netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        subprocess.run(["ip", "link", "add", "cable", *ends], check=True)
        for name, host in zip(names, HOSTS, strict=True):
            subprocess.run(["ip", "-n", name, "addr", "add", f"{host}/24", "dev", "cable"], check=True)
            for device in ("lo", "cable"):
                subprocess.run(["ip", "-n", name, "link", "set", device, "up"], check=True)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.fixture
def new_machine(networks: tuple[str, str]) -> Iterator[Callable[[str], Machine]]:
    """A machine with keys, at the second end of the cable."""
    with tempfile.TemporaryDirectory(prefix="ear") as directory:

        def make(name: str) -> Machine:
            machine = Machine(Addresses(Path(directory) / name / "r", Path(directory) / name / "s"), namespace=networks[1])
            machine.run("keys", "new", name)
            return machine

        yield make


@pytest.fixture(scope="module")
def desk(networks: tuple[str, str]) -> Iterator[Machine]:
    """The machine with the assistant, at the first end of the cable."""
    with tempfile.TemporaryDirectory(prefix="ear") as directory:
        # Nothing is done ahead of time, so that the workers that the tests stop hold what is wanted.
        options = (f"network.listen={PLACE}", "launcher.watchdog_s=120", "whisper.workers=1", "vad.pause_ms=0", "vad.partial_ms=0")
        addresses = Addresses(Path(directory) / "r", Path(directory) / "s")
        machine = Machine(addresses, tuple(part for option in options for part in ("--set", option)), networks[0])
        machine.run("keys", "new", "desk")
        machine.start()
        yield machine
        machine.stop()


@pytest.fixture
def attic(desk: Machine, new_machine: Callable[[str], Machine]) -> Iterator[Machine]:
    """A machine that the desk knows, and that knows the desk."""
    machine = new_machine("attic")
    machine.run("keys", "allow", "desk", desk.key())
    desk.run("keys", "allow", "attic", machine.key())
    wait_until(lambda: "for attic" in desk.run("status").stdout)
    yield machine
    desk.run("keys", "revoke", "attic", check=False)


@contextmanager
def tapping(machine: Machine, *topics: str) -> Iterator[Lines]:
    """A tap that is connected for certain."""
    tap = Lines(machine.popen("tap", "--json", "--connect", f"desk@{PLACE}", "broker", *topics))
    try:
        tap.wait_for("broker.beat")
        yield tap
    finally:
        tap.process.kill()
        tap.process.wait()


@contextmanager
def working(machine: Machine) -> Iterator[None]:
    """The machine transcribes for the desk."""
    options = ("--name", "whisper-9", "--config", "config/rehearsal.toml", "--set", "launcher.watchdog_s=120")
    worker = machine.popen("join", "whisper", "--connect", PLACE, *options)
    try:
        wait_until(lambda: machine.run("status", check=False).returncode == 0)
        machine.wait_until_ready("whisper-9")
        yield
    finally:
        worker.send_signal(signal.SIGTERM)
        _, errors = worker.communicate(timeout=COMMAND_TIMEOUT_S)
    assert worker.returncode == 0, errors


@pytest.mark.timeout(300)
def test_an_allowed_machine_sees_the_events_and_does_a_transcription(desk: Machine, attic: Machine) -> None:
    before = desk.incarnations()
    with tapping(attic, "transcript", "turn") as tap, working(attic):
        local = desk.kill("whisper-1", signal.SIGSTOP)
        (turn,) = desk.hear(SPEECH / "sum-rms.wav")  # the local worker is late, so the one in the attic has the job too
        os.kill(local, signal.SIGCONT)
        assert words(turn["transcript"]) == words("what is two plus three")
        assert tap.wait_for("transcript.final", turn=turn["turn"])["sender"] == "whisper-9"
        tap.wait_for("turn.finished", turn=turn["turn"])
    assert desk.incarnations() == before


def test_a_stranger_with_keys_of_its_own_is_refused_and_logged(desk: Machine, new_machine: Callable[[str], Machine]) -> None:
    stranger = new_machine("stranger")
    stranger.run("keys", "allow", "desk", desk.key())
    before = desk.refused
    done = stranger.run("tap", "--connect", PLACE, "--timeout", "20", check=False)
    assert done.returncode == 1
    assert "does not allow this machine's key" in done.stderr
    wait_until(lambda: desk.refused > before)
    log = desk.run("logs", "gate").stdout
    assert stranger.key() in log
    assert HOSTS[1] in log
    assert stranger.key() in desk.run("status").stdout


def test_a_client_without_keys_gets_nothing_and_is_counted(desk: Machine, attic: Machine) -> None:
    before = desk.refused
    program = f"""
import zmq
socket = zmq.Context().socket(zmq.SUB)
socket.subscribe(b"")
socket.connect("tcp://{PLACE}")
print(socket.poll(4000))
"""
    out, errors = attic.python("-c", program).communicate(timeout=COMMAND_TIMEOUT_S)
    assert out == "0\n", errors
    wait_until(lambda: desk.refused > before)


@pytest.mark.timeout(300)
def test_who_is_revoked_is_cut_off_at_once_and_refused_until_it_is_allowed_again(desk: Machine, attic: Machine) -> None:
    with tapping(attic) as tap:
        desk.run("keys", "revoke", "attic")
        wait_until(lambda: tap.process.poll() is not None, NOTICED_S)
        _, errors = tap.read()
    assert tap.process.returncode == 1
    assert "does not allow this machine's key" in errors
    assert attic.run("tap", "--connect", PLACE, "--timeout", "20", check=False).returncode == 1
    desk.run("keys", "allow", "attic", attic.key())
    wait_until(lambda: attic.run("tap", "--connect", PLACE, "--count", "1", "broker", check=False).returncode == 0, NOTICED_S)


@pytest.mark.timeout(400)
def test_when_the_cable_is_cut_the_tap_goes_on_and_the_lease_goes_to_another_worker(
    desk: Machine, attic: Machine, networks: tuple[str, str]
) -> None:
    cable = Cable(networks[1])
    before = desk.incarnations()
    with tapping(attic, "transcript", "turn") as tap, working(attic), desk.events("job.") as events:
        lives = attic.incarnations()
        local = desk.kill("whisper-1", signal.SIGSTOP)
        remote = attic.kill("whisper-9", signal.SIGSTOP)
        hearing = [desk.popen("hear", "--json", "--stream", name, str(SPEECH / "sum-rms.wav")) for name in ("one", "two")]
        moved(events, "leased", "hedged")
        cable.set("down")
        moved(events, "requeued", "released")
        wait_until(lambda: not connections(networks[0]), NOTICED_S)  # a shorter cut is mended by TCP, and nothing is missed
        os.kill(local, signal.SIGCONT)
        turns = [turn for process in hearing for turn in lines(process.communicate(timeout=COMMAND_TIMEOUT_S)[0])]
        assert [turn["reply"] for turn in turns] == ["Two plus three is five."] * 2
        cable.set("up")
        os.kill(remote, signal.SIGCONT)  # what it brings now is too late
        wait_until(lambda: any("miss" in line for line in tap.read()[1].splitlines()), NOTICED_S)
        (turn,) = desk.hear(SPEECH / "sum-rms.wav")
        tap.wait_for("turn.finished", turn=turn["turn"])
        assert attic.incarnations() == lives
    remembered = [record["turn"] for record in desk.remembered()]
    assert len(remembered) == len(set(remembered))
    assert {turn["turn"] for turn in turns} <= set(remembered)
    assert desk.incarnations() == before


def connections(namespace: str) -> str:
    """The connections to the gate, one on each line."""
    command = ["ip", "netns", "exec", namespace, "ss", "-Htn", "state", "established", "src", PLACE.partition(":")[0]]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def moved(events: Events, *states: str) -> None:
    """Wait until a job of the worker in the attic gets into one of these states."""
    while True:
        body = events.wait_for("job.moved").body
        assert isinstance(body, JobMoved)
        if body.state in states and body.worker.startswith("whisper-9/"):
            return
