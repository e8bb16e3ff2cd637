"""Where an instance lives: a private directory of sockets, and a directory of what is kept.

One instance is one runtime directory. An flock on `lock` in it keeps a second instance out; each audio source holds
an flock of its own.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bus.errors import AddressError, InstanceRunning
from bus.limits import SOCKET_PATH_MAX_BYTES, STREAM_NAME_MAX

_STREAM_NAME = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{STREAM_NAME_MAX - 1}}}")
SYSTEM_RUNTIME_DIR: Final = Path("/run/earshot")
"""The RuntimeDirectory= of the system service, made by systemd for the user that the service runs as."""
SYSTEM_STATE_DIR: Final = Path("/var/lib/earshot")
"""Its StateDirectory=."""
_LONGEST_SOCKET = "audio/" + "s" * STREAM_NAME_MAX + ".live"


@dataclass(frozen=True)
class Addresses:
    """The paths and ZeroMQ endpoints of one instance."""

    runtime_dir: Path
    state_dir: Path
    remote: str = ""
    """`HOST:PORT` or `NAME@HOST:PORT`: events and jobs are those of another machine. Empty: all is here."""

    @classmethod
    def resolve(cls, runtime_dir: str = "", state_dir: str = "", environ: Mapping[str, str] = os.environ) -> Addresses:
        """Find the directories: the environment, then the configuration, then the XDG defaults.

        The environment wins because that is how one instance is told from another on a command line.
        """
        home = Path(environ.get("HOME") or "/")
        runtime = environ.get("EARSHOT_RUNTIME_DIR") or runtime_dir
        if not runtime and _is_ours(SYSTEM_RUNTIME_DIR):
            runtime = str(SYSTEM_RUNTIME_DIR)  # the user of the system service means that, wherever it was called from
        if not runtime:
            parent = environ.get("XDG_RUNTIME_DIR")
            runtime = f"{parent}/earshot" if parent else f"/tmp/earshot-{os.getuid()}"
        state = environ.get("EARSHOT_STATE_DIR") or state_dir or (str(SYSTEM_STATE_DIR) if runtime == str(SYSTEM_RUNTIME_DIR) else "")
        if not state:
            state = str(Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "earshot")
        remote = environ.get("EARSHOT_CONNECT", "")
        return cls(Path(runtime).expanduser().absolute(), Path(state).expanduser().absolute(), remote)

    def prepare(self) -> None:
        """Make the directories, private to this user. Raise AddressError when that cannot be done."""
        self.check_length()
        for directory in (self.runtime_dir, self.audio_dir, self.state_dir, self.logs_dir):
            _make_private(directory)

    def check_length(self) -> None:
        """Raise AddressError when a socket name in the runtime directory would pass the kernel's limit."""
        longest = len(os.fsencode(self.runtime_dir / _LONGEST_SOCKET))
        if longest > SOCKET_PATH_MAX_BYTES:
            raise AddressError(
                f"the runtime directory {self.runtime_dir} is {longest - SOCKET_PATH_MAX_BYTES} bytes too long: a socket name "
                f"holds at most {SOCKET_PATH_MAX_BYTES} bytes; set EARSHOT_RUNTIME_DIR to a shorter path"
            )

    @property
    def environ(self) -> dict[str, str]:
        """What a child needs to find this instance."""
        return {"EARSHOT_RUNTIME_DIR": str(self.runtime_dir), "EARSHOT_STATE_DIR": str(self.state_dir)}

    @property
    def audio_dir(self) -> Path:
        return self.runtime_dir / "audio"

    @property
    def logs_dir(self) -> Path:
        return self.state_dir / "logs"

    @property
    def flight_dir(self) -> Path:
        """What the flight recorder keeps."""
        return self.state_dir / "flight"

    @property
    def crashes_dir(self) -> Path:
        """What is kept of crashes, a directory each."""
        return self.state_dir / "crashes"

    @property
    def keys_dir(self) -> Path:
        return self.state_dir / "keys"

    @property
    def config(self) -> Path:
        """The checked and merged configuration that the launcher leaves for the actors."""
        return self.runtime_dir / "config.json"

    @property
    def spool(self) -> Path:
        return self.state_dir / "spool.sqlite3"

    @property
    def notify_socket(self) -> Path:
        return self.runtime_dir / "notify"

    @property
    def voice(self) -> str:
        """Sound for the loudspeaker."""
        return f"ipc://{self.runtime_dir}/voice"

    @property
    def control(self) -> str:
        return f"ipc://{self.runtime_dir}/control"

    @property
    def jobs(self) -> str:
        return self._endpoint("jobs", 2)

    @property
    def events_in(self) -> str:
        """Publishers connect here (the broker's XSUB)."""
        return self._endpoint("events.in", 1)

    @property
    def events_out(self) -> str:
        """Subscribers connect here (the broker's XPUB)."""
        return self._endpoint("events.out", 0)

    def _endpoint(self, name: str, port: int) -> str:
        """Here, or, as the so manyth port, on the other machine. Raise SetupError when its key, or ours, is not here."""
        if not self.remote:
            return f"ipc://{self.runtime_dir}/{name}"
        from bus.security import Keys, TcpEndpoint, parse_place, server_key  # it needs ZeroMQ, and few that need addresses do

        who, _, place = self.remote.rpartition("@")
        host, first = parse_place(place)
        keys = Keys(self.keys_dir)
        return TcpEndpoint.make(f"tcp://{host}:{first + port}", keys.own(), server_key(keys, who))

    def audio_live(self, stream: str) -> str:
        return f"ipc://{self.audio_file(stream, 'live')}"

    def audio_history(self, stream: str) -> str:
        return f"ipc://{self.audio_file(stream, 'hist')}"

    def audio_file(self, stream: str, kind: str) -> Path:
        """The file of a stream: `live` and `hist` are sockets, `lock` its lock, `mark` its last commit, `life` its sign of life."""
        return self.audio_dir / f"{check_stream_name(stream)}.{kind}"

    def audio_streams(self) -> list[str]:
        """The streams that have, or had, a source: sorted names."""
        if not self.audio_dir.is_dir():
            return []
        return sorted(path.stem for path in self.audio_dir.glob("*.lock") if _STREAM_NAME.fullmatch(path.stem))


def check_stream_name(stream: str) -> str:
    """Return `stream`, or raise AddressError: it names files and must stay short."""
    if not _STREAM_NAME.fullmatch(stream):
        raise AddressError(
            f"stream name {stream!r} cannot be used: take 1 to {STREAM_NAME_MAX} of a-z, 0-9, '-' and '_', beginning with a letter or digit"
        )
    return stream


def _is_ours(directory: Path) -> bool:
    try:
        return directory.stat().st_uid == os.getuid()
    except OSError:
        return False


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        raise AddressError(
            f"cannot use {directory}: {error.strerror}; set EARSHOT_RUNTIME_DIR and EARSHOT_STATE_DIR to writable places"
        ) from None
    if status.st_uid != os.getuid():
        raise AddressError(f"{directory} belongs to user {status.st_uid}, not to you; remove it or set EARSHOT_RUNTIME_DIR")
    if stat.S_IMODE(status.st_mode) & 0o077:
        directory.chmod(0o700)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise AddressError(f"cannot write to {directory}; set EARSHOT_RUNTIME_DIR and EARSHOT_STATE_DIR to writable places")


class Lock:
    """An exclusive flock on a file. It ends with the process, however that ends."""

    def __init__(self, path: Path, what: str) -> None:
        """Take the lock, or raise InstanceRunning with `what` and the holder's process id."""
        self._path = path
        self._fd = self._open(what)
        while not _is_at(self._fd, path):  # its last holder has removed it: who comes after us would lock another file
            os.close(self._fd)
            self._fd = self._open(what)
        os.ftruncate(self._fd, 0)
        os.write(self._fd, str(os.getpid()).encode())

    def _open(self, what: str) -> int:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _try_lock(fd):
            return fd
        holder = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise InstanceRunning(f"{what} (process {holder} holds {self._path})")

    def release(self) -> None:
        """Give the lock back. The file stays."""
        os.close(self._fd)

    def remove(self) -> None:
        """Give the lock back and remove its file, in that order of effect: while the file has its name, the lock is held."""
        self._path.unlink(missing_ok=True)
        os.close(self._fd)


def _is_at(fd: int, path: Path) -> bool:
    """Whether `path` still is the name of the open file."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def _try_lock(fd: int, tries: int = 20) -> bool:
    # More than once, because `is_locked` holds the lock for an instant to look at it.
    for _ in range(tries):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.005)
        else:
            return True
    return False


def is_locked(path: Path) -> bool:
    """Whether a living process holds the flock on `path`."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
