"""The actor `gate`: the way in for other machines. Runs only where `network.listen` is set.

It binds three tcp ports with CURVE, lets in who is on the allow-list, and carries events and jobs to and from the sockets of this
instance. What comes in is checked here; nothing that does not follow the protocol goes further.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import zmq
from zmq.utils import z85

from bus.codec import Stamp, decode
from bus.errors import SetupError, WireError
from bus.events import configure, monitor_event, received
from bus.limits import JOB_HIGH_WATER_MARK, MAX_EVENT_BYTES
from bus.messages.actor import LossTold, Probe
from bus.messages.base import Message
from bus.messages.jobs import JobSettled, WorkerBye
from bus.messages.speech import TranscriptFinal, TranscriptPartial
from bus.security import PORTS, ZAP_ENDPOINT, Keys, parse_place, serve

if TYPE_CHECKING:
    from actors.actor import Runtime

LOOK_INTERVAL_S = 0.5
"""How often the allow-list is looked at: a key that is revoked is cut off within this time."""
SETTLE_S = 0.2
"""From the news that a connection ended until ZeroMQ's own tables know of it."""
EPISODE_S = 60.0
"""A stranger that knocks again within this time of its first try is counted and not told of again."""
TOLD_AT_MOST = 20
"""Of so many strangers in one episode: who makes a new key for each try is not to fill the log."""
MAX_CLIENTS = 200
FROM_OUTSIDE = (Probe, LossTold, TranscriptFinal, TranscriptPartial)
"""The events that a worker on another machine has to tell. Others would be taken for the launcher's, or the user's, own."""
_BROKEN_HANDSHAKE = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL

Socket = zmq.Socket[bytes]


@dataclass
class Client:
    """One connection of a job client: its own line to the dispatcher, which so takes it for one more local client."""

    line: Socket
    sender: str = ""
    incarnation: str = ""


@dataclass
class Strangers:
    """Who was refused. Pure: tells whether somebody is news."""

    refused: int = 0
    last: str = ""
    _told_s: dict[str, float] = field(default_factory=dict)

    def refuse(self, who: str, now_s: float) -> bool:
        """Count one refusal; return whether it begins an episode."""
        self.refused += 1
        self.last = who
        self._told_s = {other: told_s for other, told_s in self._told_s.items() if now_s - told_s <= EPISODE_S}
        if who in self._told_s or len(self._told_s) >= TOLD_AT_MOST:
            return False
        self._told_s[who] = now_s
        return True


class Gate:
    """Keeps the doors: closed and opened anew whenever a key is revoked, since a key is asked for only when a connection begins."""

    def __init__(self, runtime: Runtime) -> None:
        """Raise SetupError when this machine has no keys, or the address cannot be used."""
        self._runtime = runtime
        self._place = parse_place(runtime.settings.network.listen)
        self._keys = Keys(runtime.addresses.keys_dir)
        self._own = self._keys.own()
        self._allowed = self._keys.allowed()
        self._strangers = Strangers()
        self._open()
        runtime.every(LOOK_INTERVAL_S, self._look)
        self._tell()

    def close(self) -> None:
        self._shut()

    # -- the doors ------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Bind. The sockets have a context of their own, whose end waits until the last of their connections is gone."""
        self._context: zmq.Context[Socket] = zmq.Context()
        self._clients: dict[bytes, Client] = {}
        self._zap = self._context.socket(zmq.ROUTER)
        self._zap.bind(ZAP_ENDPOINT)
        self._out = self._served(zmq.XPUB, 0)
        self._in = self._served(zmq.SUB, 1)
        self._in.subscribe(b"")
        self._jobs = self._served(zmq.ROUTER, 2)
        self._jobs.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._monitors = [socket.get_monitor_socket(_BROKEN_HANDSHAKE) for socket in (self._out, self._in)]
        self._jobs_monitor = self._jobs.get_monitor_socket(_BROKEN_HANDSHAKE | zmq.EVENT_DISCONNECTED)
        self._bind()
        addresses = self._runtime.addresses
        self._events = self._local(zmq.XSUB, addresses.events_out)
        self._publisher = self._local(zmq.PUB, addresses.events_in)
        watch = self._runtime.watch
        watch(self._zap, self._answer_zap)
        watch(self._out, self._subscribe)
        watch(self._events, self._send_events)
        watch(self._in, self._take_events)
        watch(self._jobs, self._take_jobs)
        for monitor in self._monitors:
            watch(monitor, partial(self._on_monitor, monitor))
        watch(self._jobs_monitor, partial(self._on_monitor, self._jobs_monitor))

    def _served(self, kind: int, number: int) -> Socket:
        socket = self._context.socket(kind)
        configure(socket, JOB_HIGH_WATER_MARK) if number == PORTS - 1 else configure(socket, largest_bytes=MAX_EVENT_BYTES)
        serve(socket, self._own)
        return socket

    def _bind(self) -> None:
        host, first = self._place
        for number, socket in enumerate((self._out, self._in, self._jobs)):
            try:
                socket.bind(f"tcp://{host}:{first + number}")
            except zmq.ZMQError as error:
                raise SetupError(f"cannot listen on {host}:{first + number}: {error}; change network.listen") from None

    def _local(self, kind: int, endpoint: str) -> Socket:
        socket = self._context.socket(kind)
        configure(socket, largest_bytes=MAX_EVENT_BYTES)
        socket.connect(endpoint)
        return socket

    def _shut(self) -> None:
        for client in list(self._clients):
            self._drop(client)
        for socket in (self._zap, self._out, self._events, self._in, self._jobs, *self._monitors, self._jobs_monitor):
            self._runtime.unwatch(socket)
        self._context.destroy(linger=0)

    def _look(self) -> None:
        """Take up a changed allow-list."""
        try:
            allowed = self._keys.allowed()
        except SetupError as error:
            self._runtime.trouble(str(error))
            return
        if allowed == self._allowed:
            if self._strangers.refused != self._told_refused:
                self._tell()
            return
        gone = [name for name, key in self._allowed.items() if allowed.get(name) != key]
        self._allowed = allowed
        if gone:
            self._runtime.log.info("keys revoked, all connections begin anew", names=gone)
            self._shut()
            self._open()
        self._tell()

    def _tell(self) -> None:
        host, first = self._place
        self._told_refused = self._strangers.refused
        names = ", ".join(sorted(self._allowed)) or "nobody yet (`supervisor keys allow NAME KEY`)"
        strangers = f"; {self._strangers.refused} strangers refused, the last {self._strangers.last}" if self._strangers.refused else ""
        self._runtime.status(f"{self._own.name} listens on {host}:{first} to {first + PORTS - 1} for {names}{strangers}")

    # -- who may in -----------------------------------------------------------------------------------------------

    def _answer_zap(self) -> None:
        """Answer ZeroMQ's question about a key. See RFC 27."""
        for asker, _, version, request, _domain, address, _identity, mechanism, *credentials in received(self._zap):
            name = ""
            if mechanism == b"CURVE" and credentials:
                key = z85.encode(credentials[0])
                name = next((name for name, allowed in self._allowed.items() if allowed == key), "")
                if not name:
                    self._refuse(f"key {key.decode()} from {address.decode()}")
            status, text = (b"200", b"OK") if name else (b"400", b"this key is not on the list")
            self._zap.send_multipart([asker, b"", version, request, status, text, name.encode(), b""])

    def _on_monitor(self, monitor: Socket) -> None:
        if monitor_event(monitor) == zmq.EVENT_DISCONNECTED:
            self._runtime.after(SETTLE_S, self._drop_unreachable)
        else:
            self._refuse("someone who does not speak CURVE with our key")

    def _refuse(self, who: str) -> None:
        self._runtime.count("strangers-refused")
        if self._strangers.refuse(who, self._runtime.clock.monotonic_ns() / 1e9):
            self._runtime.log.warning("stranger refused", who=who)

    # -- events ---------------------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        for frames in received(self._out):
            self._events.send_multipart(frames)

    def _send_events(self) -> None:
        for frames in received(self._events):
            self._out.send_multipart(frames)

    def _take_events(self) -> None:
        for frames in received(self._in):
            message = self._checked(frames)
            if message is None:
                continue
            if isinstance(message.body, FROM_OUTSIDE):
                self._publisher.send_multipart(frames)
            else:
                self._runtime.malformed(WireError(f"{message.topic}: not from another machine"))

    def _checked(self, frames: list[bytes]) -> Message | None:
        try:
            return decode(frames)
        except WireError as error:
            self._runtime.malformed(error)
            return None

    # -- jobs -----------------------------------------------------------------------------------------------------

    def _take_jobs(self) -> None:
        for peer, *frames in received(self._jobs):
            message = self._checked(frames)
            if message is None:
                continue
            client = self._clients.get(peer) or self._welcome(peer)
            client.sender, client.incarnation = message.envelope.sender, message.envelope.incarnation
            try:
                client.line.send_multipart(frames, zmq.NOBLOCK)
            except zmq.Again:
                self._runtime.count("messages-unsent")  # no dispatcher: it is said again

    def _welcome(self, peer: bytes) -> Client:
        if len(self._clients) >= MAX_CLIENTS:
            self._drop(next(iter(self._clients)))
        line = self._context.socket(zmq.DEALER)
        configure(line, JOB_HIGH_WATER_MARK)
        line.connect(self._runtime.addresses.jobs)
        client = self._clients[peer] = Client(line)
        self._runtime.watch(line, partial(self._send_jobs, peer))
        return client

    def _send_jobs(self, peer: bytes) -> None:
        for frames in received(self._clients[peer].line):
            if not self._reach(peer, frames):
                self._drop(peer)
                return

    def _reach(self, peer: bytes, frames: list[bytes]) -> bool:
        try:
            self._jobs.send_multipart([peer, *frames], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            return False
        return True

    def _drop_unreachable(self) -> None:
        """A connection ended. ZeroMQ does not say whose: a message that means nothing finds it out."""
        nothing = Stamp(self._runtime.name, self._runtime.incarnation).pack(JobSettled(lease="", accepted=False))
        for peer in list(self._clients):
            if not self._reach(peer, nothing):
                self._drop(peer)

    def _drop(self, peer: bytes) -> None:
        """Say goodbye for a client that is gone, so that a lease that it holds ends now and not at its deadline."""
        client = self._clients.pop(peer)
        if client.sender:
            goodbye = Stamp(client.sender, client.incarnation).pack(WorkerBye())
            with suppress(zmq.Again):  # no dispatcher, and it has long been away
                client.line.send_multipart(goodbye, zmq.NOBLOCK)
        self._runtime.unwatch(client.line)
        client.line.close(linger=200)
