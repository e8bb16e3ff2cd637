"""The control socket: commands to a running launcher. Its two ends, and what `status` tells."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import zmq

from bus.addresses import Addresses
from bus.codec import Stamp, decode
from bus.errors import EarshotError, NoInstance, WireError
from bus.events import configure, received
from bus.limits import MAX_LINE_CHARS
from bus.messages.base import Body
from bus.messages.control import ActorInfo, ControlRefused
from supervisor.instance import lock_path, require_running
from supervisor.states import State
from supervisor.topology import format_cpu_list
from supervisor.ward import Ward

CONTROL_HIGH_WATER_MARK = 100
ANSWER_TIMEOUT_S = 5.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ControlServer:
    """The launcher's end. Watch `socket`, then call `receive`."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        stamp: Stamp,
        answer: Callable[[Body], Body],
        on_bad: Callable[[WireError], None],
    ) -> None:
        """`answer` gets each command that follows the protocol, `on_bad` is told of each message that does not."""
        self._stamp = stamp
        self._answer = answer
        self._on_bad = on_bad
        self.socket = context.socket(zmq.ROUTER)
        configure(self.socket, CONTROL_HIGH_WATER_MARK)
        self.socket.bind(endpoint)

    def receive(self) -> None:
        """Answer what has arrived."""
        for sender, *frames in received(self.socket):
            try:
                answer = self._answer(decode(frames).body)
            except WireError as error:
                self._on_bad(error)
                answer = ControlRefused(reason=f"not understood: {error}"[:MAX_LINE_CHARS])
            except EarshotError as error:
                answer = ControlRefused(reason=str(error)[:MAX_LINE_CHARS])
            self.socket.send_multipart([sender, *self._stamp.pack(answer)])

    def close(self) -> None:
        # What was answered last, to a `stop`, is still on its way.
        self.socket.close(linger=200)


Answer = TypeVar("Answer", bound=Body)


def ask(addresses: Addresses, command: Body, kind: type[Answer], timeout_s: float = ANSWER_TIMEOUT_S) -> Answer:
    """Send one command to the running launcher and return its answer.

    Raises NoInstance when there is none or it does not answer, EarshotError when it refuses.
    """
    require_running(addresses)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    with context.socket(zmq.DEALER) as socket:
        configure(socket, CONTROL_HIGH_WATER_MARK)
        socket.connect(addresses.control)
        socket.send_multipart(Stamp("supervisor", str(os.getpid())).pack(command))
        if not socket.poll(round(timeout_s * 1000)):
            holder = lock_path(addresses).read_text().strip()
            raise NoInstance(f"the launcher (process {holder}) does not answer; `kill -9 {holder}` ends it and all of its actors")
        body = decode(socket.recv_multipart()).body
    if isinstance(body, ControlRefused):
        raise EarshotError(body.reason)
    if not isinstance(body, kind):
        raise WireError(f"{body.topic}: not the answer to {command.topic}")
    return body


def info(ward: Ward, now_s: float) -> ActorInfo:
    """What `status` tells of one actor."""
    pid = ward.process.pid if ward.process else None
    return ActorInfo(
        actor=ward.name,
        state=ward.state.shown,
        pid=pid,
        incarnation=ward.incarnation,
        restarts=max(0, ward.lives - 1),
        up_s=round(now_s - ward.spawned_s, 1) if pid else 0.0,
        phase=ward.phase,
        cpus=cpus_of(pid) or ward.child.cpus,
        rss_bytes=rss_bytes_of(pid) if pid else 0,
        last_exit=ward.last_exit,
        detail=ward.status if ward.state is State.READY else ward.reason or ward.status,
        losses=ward.losses,
        trouble=ward.trouble if ward.state is State.READY else "",
    )


def cpus_of(pid: int | None) -> str:
    """Where the process may run, by the kernel's word and not by ours."""
    try:
        return format_cpu_list(tuple(os.sched_getaffinity(pid))) if pid else ""
    except OSError:
        return ""


def rss_bytes_of(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0
