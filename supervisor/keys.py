"""`supervisor keys`: the keys by which machines know each other on the network. A secret is never printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bus.addresses import Addresses
from bus.errors import SetupError
from bus.security import PORTS, Keys, parse_place
from bus.settings import Settings


def new(addresses: Addresses, name: str) -> str:
    """Make this machine's pair; return what to tell the user. Raises SetupError when there is one."""
    pair = Keys(addresses.keys_dir).make(name)
    public = pair.public.decode()
    return f"Keys made for {name}. Its public key, for the other machine:\n\n    supervisor keys allow {name} '{public}'"


def allow(addresses: Addresses, name: str, key: str) -> str:
    Keys(addresses.keys_dir).allow(name, key)
    return f"{name} may connect to this machine, and this machine to {name}. A running assistant knows it within a second."


def revoke(addresses: Addresses, name: str) -> str:
    Keys(addresses.keys_dir).revoke(name)
    return f"{name} is no longer allowed, and a running assistant cuts it off within a second."


def listed(addresses: Addresses) -> Iterator[str]:
    """This machine's name and public key, then those of the others."""
    keys = Keys(addresses.keys_dir)
    try:
        own = keys.own()
        yield f"this machine  {own.name:<20} {own.public.decode()}"
    except SetupError as error:
        yield str(error)
    for name, key in sorted(keys.allowed().items()):
        yield f"allowed       {name:<20} {key.decode()}"


def exposure(settings: Settings) -> str:
    """What is open to whom, for the user who checks a configuration."""
    host, first = parse_place(settings.network.listen)
    allowed = Keys(Addresses(Path(settings.instance.runtime_dir), Path(settings.instance.state_dir)).keys_dir).allowed()
    return (
        f"It listens on {host}, tcp ports {first} to {first + PORTS - 1}, for {', '.join(sorted(allowed)) or 'nobody yet'}. "
        "Whoever is on this list sees every event and may transcribe what was said: docs/security.md."
    )
