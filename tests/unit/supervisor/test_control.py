"""Commands to a launcher over a real socket, and the instance that a command means."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import zmq

from bus.addresses import Addresses, Lock
from bus.codec import Stamp
from bus.errors import AddressError, EarshotError, InstanceRunning, NoInstance, WireError
from bus.messages.base import Body
from bus.messages.control import ControlDone, ControlRestart, ControlState, ControlStatus
from bus.settings import InstanceSettings, Settings, dump_resolved
from supervisor import hear, instance
from supervisor.client import restart
from supervisor.control import ControlServer, ask
from tests.unit.supervisor.test_views import VAD


@pytest.fixture
def addresses(tmp_path: Path) -> Addresses:
    there = Addresses(tmp_path / "run", tmp_path / "state")
    there.prepare()
    return there


@contextmanager
def served(addresses: Addresses, answer: Callable[[Body], Body]) -> Iterator[list[WireError]]:
    """A launcher's control socket in a thread, and its lock. Yields what was not understood."""
    bad: list[WireError] = []
    lock = Lock(instance.lock_path(addresses), "taken")
    with zmq.Context() as context:
        server = ControlServer(context, addresses.control, Stamp("launcher", "ab12"), answer, bad.append)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                if server.socket.poll(10):
                    server.receive()

        thread = threading.Thread(target=serve)
        thread.start()
        yield bad
        over.set()
        thread.join()
        server.close()
    lock.release()


def test_a_command_is_answered(addresses: Addresses) -> None:
    asked: list[Body] = []

    def answer(command: Body) -> Body:
        asked.append(command)
        return ControlState(pid=1, ready=True, actors=[])

    with served(addresses, answer):
        assert ask(addresses, ControlStatus(), ControlState).ready
    assert asked == [ControlStatus()]


def test_a_refusal_is_an_error_with_the_launchers_own_words(addresses: Addresses) -> None:
    def answer(_command: Body) -> Body:
        raise EarshotError("there is no actor 'vda' here")

    with served(addresses, answer), pytest.raises(EarshotError, match="there is no actor 'vda' here"):
        ask(addresses, ControlRestart(actor="vda"), ControlDone)


def test_what_is_no_command_is_refused_and_the_next_one_answered(addresses: Addresses) -> None:
    with served(addresses, lambda _command: ControlDone()) as bad, zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.connect(addresses.control)
        stranger.send_multipart([b"control.stop", b"\xc1"])
        assert stranger.poll(60_000)
        assert stranger.recv_multipart()[0] == b"control.refused"
        assert len(bad) == 1
        ask(addresses, ControlStatus(), ControlDone)


def test_a_restart_is_over_when_the_next_incarnation_is_ready(addresses: Addresses) -> None:
    states = iter(["ready", "stopping", "starting", "ready"])
    lives = iter(["ab12.2", "ab12.2", "ab12.3", "ab12.3"])

    def answer(command: Body) -> Body:
        if isinstance(command, ControlRestart):
            return ControlDone()
        actor = msgspec.structs.replace(VAD, state=next(states), incarnation=next(lives), pid=43)
        return ControlState(pid=1, ready=True, actors=[actor])

    with served(addresses, answer):
        assert restart(addresses, "vad") == 43
    assert next(states, None) is None


def test_without_an_instance_a_command_says_so_and_what_to_do(addresses: Addresses) -> None:
    with pytest.raises(NoInstance, match="start one with `supervisor start`"):
        ask(addresses, ControlStatus(), ControlState)


def test_a_launcher_that_does_not_answer_is_named_with_its_process(addresses: Addresses) -> None:
    lock = Lock(instance.lock_path(addresses), "taken")
    with pytest.raises(NoInstance, match=rf"process {os.getpid()}\) does not answer"):
        ask(addresses, ControlStatus(), ControlState, timeout_s=0.05)
    lock.release()


def test_a_second_launcher_is_refused_with_the_first_ones_process_and_what_to_do(addresses: Addresses) -> None:
    lock = instance.take(addresses)
    with pytest.raises(InstanceRunning, match=rf"already running here \(process {os.getpid()}.*supervisor stop"):
        instance.take(addresses)
    lock.release()
    instance.take(addresses).release()


def test_what_a_dead_launcher_left_behind_is_removed_and_nothing_else(addresses: Addresses) -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.bind(addresses.events_in)
        left_behind = [addresses.runtime_dir / "events.in", addresses.audio_file("mic", "mark")]
        left_behind[1].touch()
        addresses.config.touch()
        lock = instance.take(addresses)
        assert not any(path.exists() for path in left_behind)
        assert addresses.config.exists()
        lock.release()


def test_commands_use_the_state_directory_that_the_running_launcher_was_configured_with(addresses: Addresses, tmp_path: Path) -> None:
    assert instance.of_running(addresses) == addresses
    elsewhere = tmp_path / "elsewhere"
    addresses.config.write_bytes(dump_resolved(Settings(instance=InstanceSettings(state_dir=str(elsewhere)))))
    assert instance.of_running(addresses).state_dir == elsewhere


def test_a_second_hear_gets_a_stream_of_its_own(addresses: Addresses) -> None:
    claims = []
    for expected in ("hear", "hear-2", "hear-3"):
        name, claim = hear.claim_stream(addresses, "hear")
        assert name == expected
        claims.append(claim)
    claims.pop(0).release()
    name, claim = hear.claim_stream(addresses, "hear")
    assert name == "hear"
    for each in [*claims, claim]:
        each.release()


def test_a_stream_with_a_source_is_not_taken_and_a_long_name_stays_a_name(addresses: Addresses) -> None:
    source = Lock(addresses.audio_file("a" * 16, "lock"), "taken")
    name, claim = hear.claim_stream(addresses, "a" * 16)
    assert name == "a" * 14 + "-2"
    with pytest.raises(AddressError):
        hear.claim_stream(addresses, "Not A Name")
    claim.release()
    source.release()


def test_hear_gives_up_only_when_a_whole_part_of_the_assistant_has_failed() -> None:
    def actor(name: str, state: str) -> object:
        return msgspec.structs.replace(VAD, actor=name, state=state)

    def missing(**states: str) -> list[str]:
        actors = [actor(name.replace("_", "-"), state) for name, state in states.items()]
        return [found.actor for found in hear.missing_parts(actors)]  # type: ignore[arg-type]

    assert missing(vad="ready", whisper_1="failed", whisper_2="ready") == []
    assert missing(vad="ready", whisper_1="failed", whisper_2="failed") == ["whisper-1", "whisper-2"]
    assert missing(vad="failed", mic="failed", console="failed", llm="backing-off") == ["vad"]
