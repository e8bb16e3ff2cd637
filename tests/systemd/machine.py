"""A machine with a real systemd, in namespaces of this one: to install into, to start units on, and to break them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
BOOT = Path(__file__).parent / "boot"
SPEECH = "/opt/test/src/assets/speech"
SUPERVISOR = "/opt/earshot/bin/supervisor"
COMMAND_TIMEOUT_S = 150
PREPARE_PYTHON = f"""set -e
if ls /opt/test/base/lib/libpython* >/dev/null 2>&1; then # it may look for its library in a home that a service does not see
  echo /opt/test/base/lib >/etc/ld.so.conf.d/earshot-test.conf && ldconfig
fi
/opt/test/base/bin/python{sys.version_info.major}.{sys.version_info.minor} -m venv --without-pip /opt/earshot
printf '/opt/test/lib\\n/opt/test/src\\n' >"$(echo /opt/earshot/lib/python3*/site-packages)/test.pth"
printf '#!/opt/earshot/bin/python\\nfrom supervisor.cli import main\\nmain()\\n' >{SUPERVISOR}
chmod 755 {SUPERVISOR}
useradd --system --create-home anna
"""
CONFIG = """\
extends = "/opt/test/src/config/rehearsal.toml"
[vad]
preset = "command"
[tts]
engine = "espeak"
[speaker]
output = "none"
pace = "fast"
[launcher]
watchdog_s = 10.0
[whisper]
workers = 1
"""


def cannot_boot() -> str:
    """Why no systemd can be booted here; empty when it can."""
    if os.geteuid() != 0:
        return "systemd in namespaces needs root"
    missing = [name for name in ("systemctl", "unshare", "nsenter", "dbus-daemon", "systemd-analyze") if not shutil.which(name)]
    if missing:
        return f"not installed here: {', '.join(missing)} (Debian: apt install systemd dbus util-linux)"
    test = subprocess.run(["unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "true"], capture_output=True, check=False)
    if test.returncode != 0:
        return f"no namespaces here: {test.stderr.decode().strip()}"
    groups = Path("/sys/fs/cgroup")
    groups = groups if (groups / "cgroup.controllers").exists() else groups / "unified"
    return "" if os.access(groups / "cgroup.procs", os.W_OK) and not _read_only(groups) else f"{groups} cannot be written"


def _read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


@dataclass
class Machine:
    """One boot."""

    state: Path

    def run(self, *command: str, user: str = "", check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end."""
        done = subprocess.run(
            self._inside(command, user), input=stdin, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
        assert not check or done.returncode == 0, (
            f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}\n{self.journal()[-4000:]}"
        )
        return done

    def popen(self, *command: str, user: str = "") -> subprocess.Popen[str]:
        """Begin a command inside that goes on meanwhile."""
        return subprocess.Popen(self._inside(command, user), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def write(self, path: str, text: str) -> None:
        """Write a file inside."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1"', "sh", path, stdin=text)

    def systemctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("systemctl", *arguments, check=check)

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.systemctl("show", "--value", f"--property={name}", unit).stdout.strip()

    def wait_for(self, unit: str, **values: str) -> None:
        """Wait until the unit has these properties."""

        def explain() -> str:
            return f"{unit}: {values}, but {[self.show(unit, name) for name in values]}\n{self.journal(unit)[-4000:]}"

        wait_until(lambda: all(self.show(unit, name) == value for name, value in values.items()), interval_s=0.05, explain=explain)

    def journal(self, unit: str = "") -> str:
        """What the journal has of a unit, or of all."""
        self.run("journalctl", "--sync", check=False)  # what was said last may be on its way
        done = self.run("journalctl", "--no-pager", "--output=cat", *([f"--unit={unit}"] if unit else []), check=False)
        return done.stdout

    def supervisor(self, *arguments: str, user: str = "earshot", check: bool = True) -> subprocess.CompletedProcess[str]:
        """The command line, as the user of the service."""
        return self.run(SUPERVISOR, *arguments, user=user, check=check)

    def status(self) -> dict[str, dict[str, Any]]:
        """The actors by name."""
        found = [json.loads(line) for line in self.supervisor("status", "--json").stdout.splitlines()]
        return {actor["actor"]: actor for actor in found}

    def hear(self, name: str = "sum-rms.wav") -> list[dict[str, Any]]:
        """Let it hear a file of the sample speech; return its turns."""
        return turns_of(self.supervisor("hear", "--json", f"{SPEECH}/{name}").stdout)

    def begin_to_hear(self, name: str = "sum-rms.wav") -> subprocess.Popen[str]:
        return self.popen(SUPERVISOR, "hear", "--json", f"{SPEECH}/{name}", user="earshot")

    def processes(self, user: str = "earshot") -> list[str]:
        """What still runs as that user."""
        return self.run("ps", "--no-headers", "-o", "args", "-u", user, check=False).stdout.splitlines()

    def stop(self) -> None:
        """Stop whatever runs, and wait for its end."""
        self.systemctl("stop", "earshot.target", "earshot-prepare.service", "earshot.service")

    def forget_failures(self) -> None:
        """Start limits count from here."""
        self.systemctl("reset-failed")

    def _inside(self, command: tuple[str, ...], user: str) -> list[str]:
        as_user = ["runuser", "-u", user, "--"] if user else []
        return [str(BOOT), "sh", str(self.state), "env", "-C", "/", "-i", "PATH=/usr/bin:/usr/sbin:/bin", "NO_COLOR=1", *as_user, *command]


def turns_of(text: str) -> list[dict[str, Any]]:
    """What `hear --json` printed."""
    return [json.loads(line) for line in text.splitlines()]


@contextmanager
def booted() -> Iterator[Machine]:
    """A machine with this project's packages in /opt/earshot, and nothing installed yet."""
    with tempfile.TemporaryDirectory(prefix="earshot-") as directory:
        machine = Machine(Path(directory))
        binds = {sys.base_prefix: "/opt/test/base", sysconfig.get_path("purelib"): "/opt/test/lib", str(ROOT): "/opt/test/src"}
        try:
            up = subprocess.run(
                [BOOT, "up", directory, *(f"{source}:{target}" for source, target in binds.items())],
                capture_output=True,
                text=True,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            )
            assert up.returncode == 0, f"systemd did not come up:\n{up.stdout}{up.stderr}"
            machine.run("bash", "-s", stdin=PREPARE_PYTHON)
            yield machine
        finally:
            subprocess.run([BOOT, "down", directory], capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False)


def elapsed_s(since_s: float) -> float:
    return time.monotonic() - since_s
