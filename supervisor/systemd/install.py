"""`supervisor install --systemd` and `uninstall`: what is written where, and the record of it.

The record is `installed.json` beside the configuration. It names the files that are ours, so that `uninstall` removes these
and nothing else; and for the configuration what we wrote, so that what was changed since is kept.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bus.addresses import SYSTEM_RUNTIME_DIR, SYSTEM_STATE_DIR, Addresses
from bus.errors import EarshotError
from supervisor.instance import SYSTEM_USER, is_running
from supervisor.modules import ROOT
from supervisor.systemd.files import UNITS, Variant, text_of, unit_files
from supervisor.systemd.reach import unreachable

ENABLED = ("earshot.service", "earshot.target", "earshot-vllm.service")
Say = Callable[[str], None]


class Record(msgspec.Struct, frozen=True):
    """What was installed."""

    files: list[str] = []
    """Ours: overwritten by the next installation, removed with the last."""
    config: dict[str, str] = {}
    """The user's, by the SHA-256 of what we wrote."""


@dataclass(frozen=True)
class Place:
    """Where an installation goes."""

    user: bool
    root: Path = Path("/")
    """Everything below here; not `/`: for an image or a package, and no running systemd is touched."""

    @property
    def live(self) -> bool:
        return self.root == Path("/")

    @property
    def config(self) -> Path:
        return self._home_config / "earshot" if self.user else self.root / "etc/earshot"

    @property
    def units(self) -> Path:
        return self._home_config / "systemd/user" if self.user else self.root / "etc/systemd/system"

    @property
    def record(self) -> Path:
        return self.config / "installed.json"

    @property
    def addresses(self) -> Addresses:
        """Of the instance that the units run."""
        if not self.user:
            return Addresses(SYSTEM_RUNTIME_DIR, SYSTEM_STATE_DIR)
        runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}") / "earshot"
        return Addresses(runtime, Addresses.resolve().state_dir)

    @property
    def _home_config(self) -> Path:
        there = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        return there if self.live else self.root / there.relative_to("/")


def install(place: Place, variant: Variant, say: Say, python: Path | None = None) -> None:
    """Write units, users and configuration, and tell what was done and what to do next.

    `python`: another interpreter than this one, for packages. Raises EarshotError, with nothing written.
    """
    _require_rights(place)
    os.umask(0o022)  # others read these: the service's user among them
    interpreter = python or Path(sys.executable)
    if place.live and not place.user:
        _require_reach(interpreter)
    old = _read(place)
    search_path = None if python or _finds_us(interpreter) else ROOT
    podman = place.live and shutil.which("docker") is None and shutil.which("podman") is not None
    units = unit_files(variant, user=place.user, python=interpreter, search_path=search_path, version=_version(place), podman=podman)
    ours = {place.units / name: text for name, text in units.items()}
    if not place.user:
        ours[place.root / "etc/sysusers.d/earshot.conf"] = text_of(UNITS / "sysusers.conf")
        ours[place.root / "etc/tmpfiles.d/earshot.conf"] = text_of(UNITS / "tmpfiles.conf")
    # First what will be there: interrupted from here on, it can be uninstalled.
    _save(place, Record(sorted({*map(str, ours), *old.files}), old.config))
    for path, text in ours.items():
        _write(path, text, say)
    for name in old.files:
        if Path(name) not in ours:
            _remove(Path(name), say)
    config = {place.config / name: text_of(UNITS / name) for name in ("earshot.toml", "earshot.env")}
    written = {str(path): _write_config(path, text, old.config, say) for path, text in config.items()}
    _save(place, Record(sorted(map(str, ours)), written))
    if place.live:
        _make_known(place, say)
    _tell_next(place, variant, interpreter, say)


def uninstall(place: Place, say: Say, *, purge: bool) -> None:
    """Stop the units and remove what was installed. Configuration that was changed and what was said stay, but for `purge`.

    Raises EarshotError when nothing was installed there.
    """
    _require_rights(place)
    record = _read(place)
    if not record.files:
        raise EarshotError(f"nothing is installed here by `supervisor install`: there is no {place.record}")
    if place.live:
        there = [name for name in ENABLED if str(place.units / name) in record.files]
        _systemctl(place, "disable", "--now", *there)
        if "earshot.target" in there:
            _systemctl(place, "stop", "earshot-prepare.service")  # and so, before it, the actors
    for name in record.files:
        _remove(Path(name), say)
    for name, digest in record.config.items():
        if purge or _digest_of(Path(name)) == digest:
            _remove(Path(name), say)
        elif Path(name).exists():
            say(f"kept     {name} (you changed it; --purge removes it)")
    place.record.unlink(missing_ok=True)
    _prune(place.config)
    if place.live:
        _systemctl(place, "daemon-reload")
        _systemctl(place, "reset-failed", "earshot*")
    _end_data(place, say, purge=purge)


# -- files ------------------------------------------------------------------------------------------------------------


def _write(path: Path, text: str, say: Say) -> None:
    data = text.encode()
    if path.exists() and path.read_bytes() == data:
        say(f"same     {path}")
        return
    word = "renewed" if path.exists() else "wrote"
    _put(path, data, 0o644)
    say(f"{word:<8} {path}")


def _write_config(path: Path, text: str, written: Mapping[str, str], say: Say) -> str:
    """Write a file that is the user's from then on; return the digest of what we wrote last."""
    data = text.encode()
    before = written.get(str(path), "")
    if path.exists() and _digest_of(path) != before and path.read_bytes() != data:
        say(f"kept     {path} (you changed it)")
        return before
    if path.exists() and path.read_bytes() == data:
        say(f"same     {path}")
    else:
        # The environment may come to hold a key; the service manager reads it, not the service.
        _put(path, data, 0o600 if path.suffix == ".env" else 0o644)
        say(f"wrote    {path}")
    return _digest(data)


def _put(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".new")
    partial.write_bytes(data)
    partial.chmod(mode)
    partial.rename(path)


def _remove(path: Path, say: Say) -> None:
    if not path.exists():
        return
    path.unlink()
    say(f"removed  {path}")
    if path.parent.name.endswith(".service.d"):
        _prune(path.parent)


def _prune(folder: Path) -> None:
    with suppress(OSError):  # it is not empty: something in it is not ours
        folder.rmdir()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_of(path: Path) -> str:
    return _digest(path.read_bytes()) if path.exists() else ""


def _read(place: Place) -> Record:
    try:
        return msgspec.json.decode(place.record.read_bytes(), type=Record)
    except OSError:
        return Record()
    except msgspec.MsgspecError as error:
        raise EarshotError(f"{place.record} is damaged ({error}); remove it and the files in {place.units} by hand") from None


def _save(place: Place, record: Record) -> None:
    _put(place.record, msgspec.json.format(msgspec.json.encode(record), indent=1), 0o644)


# -- the machine ------------------------------------------------------------------------------------------------------


def _require_rights(place: Place) -> None:
    if place.live and not place.user and os.geteuid() != 0:
        raise EarshotError("the units of the whole machine are written by root: use sudo, or --user for yourself alone")
    if place.live and place.user and os.geteuid() == 0 and "XDG_RUNTIME_DIR" not in os.environ:
        raise EarshotError("--user is for the user who will run it: call it without sudo")


def _require_reach(python: Path) -> None:
    found = unreachable(python)
    if found:
        raise EarshotError(
            f"the service's user cannot run {python}: {found}; install Earshot where all may read it (`python3 -m venv /opt/earshot`, "
            "`/opt/earshot/bin/pip install …`) and call that one's `supervisor install`, or use --user"
        )


def _finds_us(python: Path) -> bool:
    """Whether the interpreter finds these very packages by itself."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    program = "import supervisor.modules; print(supervisor.modules.ROOT)"
    done = subprocess.run([python, "-P", "-c", program], cwd="/", env=environ, capture_output=True, text=True, check=False)
    return done.stdout.strip() == str(ROOT)


def _version(place: Place) -> int:
    """Of systemd; 0 where it cannot be told: what only newer ones know is then left out."""
    if not place.live:
        return 0
    match = re.match(r"systemd (\d+)", _call("systemctl", "--version").stdout)
    return int(match[1]) if match else 0


def _make_known(place: Place, say: Say) -> None:
    if not place.user:
        _run(say, "systemd-sysusers", "/etc/sysusers.d/earshot.conf")
        _run(say, "systemd-tmpfiles", "--create", "/etc/tmpfiles.d/earshot.conf")
    if not _systemctl(place, "daemon-reload"):
        say("systemd does not run here or cannot be reached: it will find the units when it starts")


def _systemctl(place: Place, *arguments: str) -> bool:
    return _call("systemctl", *["--user"] * place.user, *arguments).returncode == 0


def _run(say: Say, *command: str) -> None:
    done = _call(*command)
    failed = "" if done.returncode == 0 else f": {done.stderr.strip() or done.returncode}"
    say(f"{'failed' if failed else 'ran':<8} {' '.join(command)}{failed}")


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, os.EX_UNAVAILABLE, "", error.strerror or "cannot be run")


def _end_data(place: Place, say: Say, *, purge: bool) -> None:
    addresses = place.addresses
    if not place.live:
        return
    if not purge:
        if addresses.state_dir.is_dir():
            say(f"kept     {addresses.state_dir} (what was said; --purge removes it)")
        return
    for folder in (addresses.state_dir, *([] if is_running(addresses) else [addresses.runtime_dir])):
        if folder.is_dir():
            shutil.rmtree(folder)
            say(f"removed  {folder}")
    if not place.user:
        say(f"kept     the user {SYSTEM_USER} (`userdel {SYSTEM_USER}` removes it)")


def _tell_next(place: Place, variant: Variant, python: Path, say: Say) -> None:
    systemctl = "systemctl --user" if place.user else "systemctl"
    as_user = "" if place.user else f"sudo -u {SYSTEM_USER} "
    unit = "earshot.target" if variant == "target" else "earshot.service"
    supervisor = f"{python} -P -m supervisor.cli" if not (python.parent / "supervisor").exists() else f"{python.parent}/supervisor"
    say("")
    say("Next:")
    say(f"  set it up    {place.config}/earshot.toml; then `{supervisor} check --config {place.config}/earshot.toml`")
    model = "from faster_whisper import download_model; download_model('medium.en')"
    if not place.user:
        say(f'  a model      {as_user}{python} -c "{model}"   (or whisper.model = a directory: the service has no network)')
    say(f"  start it     {systemctl} enable --now {unit}{'   (or earshot.target)' if variant == 'both' else ''}")
    say(f"  look         {systemctl} status 'earshot*'; {as_user}{supervisor} status")
    if place.user:
        say("  at boot      loginctl enable-linger   (else it starts when you log in)")
