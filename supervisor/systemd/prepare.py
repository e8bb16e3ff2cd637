"""What the actors' units need before they start: the checked configuration, and for each actor that is wanted its placement.

Run by `earshot-prepare.service` as `supervisor prepare`. A unit whose actor has no file here passes over itself, so the
configuration decides at each start which actors there are, and the machine's cores where they run.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator

from bus.addresses import Addresses
from bus.errors import SetupError
from bus.settings import Settings, dump_resolved
from supervisor.children import Child, plan
from supervisor.instance import actors_dir, take, units_mark
from supervisor.placement import plan_for
from supervisor.start import addresses_of, write_private
from supervisor.systemd.files import UNITS, text_of
from supervisor.topology import this_machine


def prepare(settings: Settings) -> list[str]:
    """Write the files of this instance; return what the user should know.

    Raises InstanceRunning while a launcher lives there, SetupError for settings that only a launcher can carry out.
    """
    _check(settings)
    addresses = addresses_of(settings)
    addresses.prepare()
    units_mark(addresses).unlink(missing_ok=True)  # of an earlier start that was cut off: the manager starts us once at a time
    lock = take(addresses)
    try:
        children = plan(settings, plan_for(this_machine(), settings.whisper), foreground=False)
        _write(addresses, settings, children)
    finally:
        lock.release()
    return list(_notes(children))


def environment_file(child: Child, launch: str) -> str:
    """The lines of an actor's EnvironmentFile=: which start it belongs to, where it runs, and with how many threads."""
    values = {"EARSHOT_LAUNCH": launch, "EARSHOT_CPUS": child.cpus, **child.env}
    return "".join(f"{key}={value}\n" for key, value in values.items() if value)


def wanted_by_target() -> set[str]:
    """The actors that earshot.target starts where the configuration wants them."""
    return set(re.findall(r"earshot@([a-z0-9-]+)\.service", text_of(UNITS / "earshot.target")))


def _check(settings: Settings) -> None:
    if settings.mic.source == "stdin":
        raise SetupError('mic.source = "stdin" needs a foreground `supervisor start`: a unit has no standard input to listen to')
    if settings.launcher.until == "source-ends":
        raise SetupError('launcher.until = "source-ends" needs a launcher: use earshot.service, or launcher.until = "stopped"')


def _write(addresses: Addresses, settings: Settings, children: list[Child]) -> None:
    launch = secrets.token_hex(2)
    folder = actors_dir(addresses)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    write_private(addresses.config, dump_resolved(settings))
    for child in children:
        write_private(folder / f"{child.name}.env", environment_file(child, launch).encode())
    write_private(units_mark(addresses), launch.encode())


def _notes(children: list[Child]) -> Iterator[str]:
    for name in sorted({child.name for child in children} - wanted_by_target()):
        yield f"{name} is not started by itself: `systemctl add-wants earshot.target earshot@{name}.service` adds it"
