"""Keys for tcp: who may talk with this machine over the network, and the one place where a socket gets them.

Without keys there is no tcp: `connect` takes a tcp address only with the keys in it, and a server asks for the key of each
client (ZAP) and looks it up in the allow-list; CURVE alone would let any stranger in. Sockets on ipc need none: the directory
that they stand in belongs to the user alone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import zmq

from bus.errors import SetupError
from bus.limits import TCP_HEARTBEAT_MS, TCP_HEARTBEAT_TIMEOUT_MS, TCP_RECONNECT_MAX_MS

PORTS = 3
"""From the first on: events out, events in, jobs."""
ZAP_ENDPOINT = "inproc://zeromq.zap.01"  # fixed by ZeroMQ's RFC 27
ZAP_DOMAIN = b"earshot"
OWN_FILE = "own"
ALLOWED_FILE = "allowed"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_KEY_CHARS = 40  # 32 bytes in Z85


@dataclass(frozen=True)
class KeyPair:
    """What this machine proves itself with."""

    name: str
    public: bytes
    """In Z85, as all keys here."""
    secret: bytes

    def __repr__(self) -> str:
        return f"KeyPair({self.name}, {self.public.decode()})"  # the secret is never shown


class Keys:
    """The directory of keys, private to the user: our own pair, and the public keys of the machines that we talk with."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._own = directory / OWN_FILE
        self._allowed = directory / ALLOWED_FILE

    def make(self, name: str) -> KeyPair:
        """Make our own pair. Raise SetupError when there is one already: whoever knows it would have to be told of the new one."""
        check_name(name)
        if self._own.exists():
            raise SetupError(f"this machine has keys already, as {self.own().name!r}; remove {self._own} to make others")
        public, secret = zmq.curve_keypair()
        self._write(self._own, f"{name}\n{public.decode()}\n{secret.decode()}\n")
        return KeyPair(name, public, secret)

    def own(self) -> KeyPair:
        """Our own pair. Raise SetupError when there is none."""
        try:
            name, public, secret = self._own.read_text("ascii").split()
        except FileNotFoundError:
            raise SetupError("this machine has no keys for the network; make them with `supervisor keys new NAME`") from None
        except (OSError, ValueError) as error:
            raise SetupError(f"cannot use {self._own}: {error}; remove it and make new keys with `supervisor keys new NAME`") from None
        return KeyPair(name, check_key(public), check_key(secret))

    def allowed(self) -> dict[str, bytes]:
        """The public keys of the machines that may talk with us, by name. Raise SetupError when the list cannot be read."""
        try:
            lines = self._allowed.read_text("ascii").splitlines()
            return {check_name(name): check_key(key) for name, key in (line.split() for line in lines if line.strip())}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise SetupError(f"cannot use {self._allowed}: {error}; write one NAME KEY on each line") from None

    def allow(self, name: str, key: str) -> None:
        """Let the machine `name` in, which has this public key; a key that it had before no longer holds."""
        allowed = self.allowed() | {check_name(name): check_key(key)}
        owner = next((other for other, theirs in allowed.items() if other != name and theirs == allowed[name]), None)
        if owner is not None:
            raise SetupError(f"this key is known already, as {owner!r}; `supervisor keys revoke {owner}` first")
        self._keep(allowed)

    def revoke(self, name: str) -> None:
        """Let the machine `name` in no longer. Raise SetupError when it was not allowed anyway."""
        allowed = self.allowed()
        if allowed.pop(name, None) is None:
            raise SetupError(f"there is no key of {name!r}; there are keys of {', '.join(sorted(allowed)) or 'nobody'}")
        self._keep(allowed)

    def _keep(self, allowed: dict[str, bytes]) -> None:
        self._write(self._allowed, "".join(f"{name} {key.decode()}\n" for name, key in sorted(allowed.items())))

    def _write(self, path: Path, text: str) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(text)
        fresh.replace(path)


class TcpEndpoint(str):
    """A tcp address with the keys that belong to it."""

    __slots__ = ("client", "server_key")
    client: KeyPair
    server_key: bytes

    @classmethod
    def make(cls, address: str, client: KeyPair, server_key: bytes) -> TcpEndpoint:
        endpoint = cls(address)
        endpoint.client, endpoint.server_key = client, server_key
        return endpoint


def server_key(keys: Keys, name: str) -> bytes:
    """The key by which a server has to prove that it is the machine `name`; empty: the only one that we know. Raise SetupError."""
    allowed = keys.allowed()
    if not name and len(allowed) == 1:
        return next(iter(allowed.values()))
    if name in allowed:
        return allowed[name]
    known = f"keys are here of {', '.join(sorted(allowed)) or 'no other machine'}"
    raise SetupError(f"connect to NAME@HOST:PORT; {known}; `supervisor keys allow NAME KEY` adds one that its `supervisor keys list` shows")


def refusal(remote: str) -> str:
    """What to say when the machine `remote` did not let us in."""
    return f"{remote} does not allow this machine's key: `supervisor keys allow NAME KEY` there, with the key that `keys list` shows here"


def connect(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Connect a socket of ours. Raise SetupError for a tcp address without keys."""
    if isinstance(endpoint, TcpEndpoint):
        socket.setsockopt(zmq.CURVE_SERVERKEY, endpoint.server_key)
        _use(socket, endpoint.client)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, TCP_RECONNECT_MAX_MS)
    elif not endpoint.startswith(("ipc://", "inproc://")):
        raise SetupError(f"will not connect to {endpoint} without keys")
    socket.connect(endpoint)


def serve(socket: zmq.Socket[bytes], own: KeyPair) -> None:
    """Make `socket` a server of CURVE, before it is bound. Who may in is answered by the socket at ZAP_ENDPOINT of its context."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    _use(socket, own)


def _use(socket: zmq.Socket[bytes], own: KeyPair) -> None:
    socket.setsockopt(zmq.CURVE_PUBLICKEY, own.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret)
    socket.setsockopt(zmq.HEARTBEAT_IVL, TCP_HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, TCP_HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, TCP_HEARTBEAT_TIMEOUT_MS)


def parse_place(place: str) -> tuple[str, int]:
    """`HOST:PORT` in its parts. Raise SetupError when it is not one, or there is no room for all the ports."""
    host, colon, port = place.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= 65_535 - PORTS + 1:
        raise SetupError(f"cannot use {place!r} as a place on the network: write HOST:PORT, the first of {PORTS} ports in a row")
    return host, int(port)


def check_name(name: str) -> str:
    """Return `name`, or raise SetupError: it stands in lists, one to a line."""
    if not _NAME.fullmatch(name):
        raise SetupError(f"{name!r} cannot be the name of a machine: take 1 to 32 of A-Z, a-z, 0-9, '-', '_' and '.'")
    return name


def check_key(key: str) -> bytes:
    """Return a key in Z85, or raise SetupError."""
    try:
        data = key.encode("ascii")
        zmq.curve_public(data)  # any 32 bytes will do for a secret key, so this only looks at the writing
    except (UnicodeEncodeError, ValueError, zmq.ZMQError):
        data = b""
    if len(data) != _KEY_CHARS:
        raise SetupError(
            f"{key[:50]!r} is not a key: copy the {_KEY_CHARS} characters that `supervisor keys list` shows on the other machine"
        )
    return data
