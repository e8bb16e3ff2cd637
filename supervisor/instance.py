"""Which instance a command means, and whether it is running."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from bus.addresses import Addresses, Lock, is_locked
from bus.errors import EarshotError, InstanceRunning, NoInstance
from bus.settings import load_resolved


def lock_path(addresses: Addresses) -> Path:
    """The file whose flock the launcher of this instance holds."""
    return addresses.runtime_dir / "lock"


def is_running(addresses: Addresses) -> bool:
    """Whether a launcher lives in the runtime directory."""
    return is_locked(lock_path(addresses))


def require_running(addresses: Addresses) -> None:
    """Raise NoInstance when no launcher lives there."""
    if not is_running(addresses):
        raise NoInstance(
            f"no assistant is running in {addresses.runtime_dir}; start one with `supervisor start`, "
            "or set EARSHOT_RUNTIME_DIR to the directory of the one you mean"
        )


def take(addresses: Addresses) -> Lock:
    """Make the directories, take the lock, remove what an earlier launcher left behind. Raises AddressError, InstanceRunning."""
    addresses.prepare()
    try:
        lock = Lock(lock_path(addresses), "an assistant is already running here")
    except InstanceRunning as error:
        raise InstanceRunning(f"{error}; `supervisor stop` ends it, another EARSHOT_RUNTIME_DIR runs beside it") from None
    for path in addresses.runtime_dir.iterdir():
        if path.is_socket():
            path.unlink(missing_ok=True)
    alive = {path.stem for path in addresses.audio_dir.iterdir() if is_locked(path)}
    for path in addresses.audio_dir.iterdir():
        if path.stem not in alive:  # a `supervisor hear` outlives the launcher, and goes on with the next
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return lock


def of_running(addresses: Addresses) -> Addresses:
    """The same instance with the state directory that its launcher uses, which its configuration may have placed elsewhere."""
    with suppress(EarshotError):
        instance = load_resolved(addresses.config).instance
        if instance.state_dir:
            return Addresses(addresses.runtime_dir, Path(instance.state_dir))
    return addresses
