"""Which instance a command means, and whether it is running."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from bus.addresses import SYSTEM_RUNTIME_DIR, Addresses, Lock, is_locked
from bus.errors import EarshotError, InstanceRunning, NoInstance
from bus.settings import load_resolved

TARGET: Final = "earshot.target"
SYSTEM_USER: Final = "earshot"


def lock_path(addresses: Addresses) -> Path:
    """The file whose flock the launcher of this instance holds."""
    return addresses.runtime_dir / "lock"


def units_mark(addresses: Addresses) -> Path:
    """The file that is there while `earshot-prepare.service` is active: systemd is the supervisor here, and no process holds the lock.

    It names this start, as the launcher's incarnation would.
    """
    return addresses.runtime_dir / "units"


def actors_dir(addresses: Addresses) -> Path:
    """Where `earshot-prepare.service` leaves `NAME.env` for each actor that systemd is to run."""
    return addresses.runtime_dir / "actors"


def is_running(addresses: Addresses) -> bool:
    """Whether a launcher lives in the runtime directory, or systemd runs the actors there."""
    return units_mark(addresses).exists() or is_locked(lock_path(addresses))


def require_running(addresses: Addresses) -> None:
    """Raise NoInstance when none is running there."""
    if not is_running(addresses):
        service = f"; the system service is asked as its own user: `sudo -u {SYSTEM_USER} …`" if _is_of_another(SYSTEM_RUNTIME_DIR) else ""
        raise NoInstance(
            f"no assistant is running in {addresses.runtime_dir}; start one with `supervisor start`, "
            f"or set EARSHOT_RUNTIME_DIR to the directory of the one you mean{service}"
        )


def take(addresses: Addresses) -> Lock:
    """Make the directories, take the lock, remove what an earlier launcher left behind. Raises AddressError, InstanceRunning."""
    addresses.prepare()
    try:
        lock = Lock(lock_path(addresses), "an assistant is already running here")
    except InstanceRunning as error:
        raise InstanceRunning(f"{error}; `supervisor stop` ends it, another EARSHOT_RUNTIME_DIR runs beside it") from None
    if units_mark(addresses).exists():
        lock.release()
        raise InstanceRunning(f"systemd runs an assistant in {addresses.runtime_dir}; `systemctl stop {TARGET}` (or --user) ends it")
    for path in addresses.runtime_dir.iterdir():
        if path.is_socket():
            path.unlink(missing_ok=True)
    alive = {path.stem for path in addresses.audio_dir.iterdir() if is_locked(path)}
    for path in addresses.audio_dir.iterdir():
        if path.stem not in alive:  # a `supervisor hear` outlives the launcher, and goes on with the next
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return lock


def _is_of_another(directory: Path) -> bool:
    with suppress(OSError):
        return directory.stat().st_uid != os.getuid()
    return False


def of_running(addresses: Addresses) -> Addresses:
    """The same instance with the state directory that its launcher uses, which its configuration may have placed elsewhere."""
    with suppress(EarshotError):
        instance = load_resolved(addresses.config).instance
        if instance.state_dir:
            return Addresses(addresses.runtime_dir, Path(instance.state_dir))
    return addresses
