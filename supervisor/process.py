"""One operating-system process of a child: how it is spawned, signalled, and buried; and its log file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from supervisor.children import Child

LOG_MAX_BYTES = 5 << 20


class Process:
    """A spawned process, leader of a process group of its own.

    Spawned by vfork and exec, never by fork alone: a forked copy of a process with ZeroMQ sockets is not usable. The child
    itself asks the kernel to die with us (PDEATHSIG), since a hook between fork and exec would rule vfork out.
    """

    def __init__(self, child: Child, environ: Mapping[str, str], log: Path) -> None:
        """Spawn it. Raises OSError when the program cannot be started."""
        trim(log)
        log_fd = open_log(log)
        try:
            self._popen = subprocess.Popen(
                child.argv,
                env=dict(environ),
                process_group=0,  # Ctrl+C in the terminal is for the launcher alone, which then stops the children in order
                stdin=None if child.stdin else subprocess.DEVNULL,
                stdout=None if child.terminal else log_fd,  # a file and not a pipe: nobody who does not read can block it
                stderr=log_fd,
            )
        finally:
            os.close(log_fd)
        self.pid = self._popen.pid
        self.pidfd = os.pidfd_open(self.pid)

    def signal(self, number: signal.Signals) -> None:
        """Send to the process itself; nothing happens when it is gone."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def kill_group(self) -> None:
        """SIGKILL to the process and to all that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def bury(self) -> int:
        """Reap it, once `pidfd` can be read; return the exit status as subprocess gives it. What it started dies with it."""
        self.kill_group()  # before it is reaped: until then its number cannot name a stranger's group
        returncode = self._popen.wait()
        os.close(self.pidfd)
        return returncode


def open_log(log: Path) -> int:
    """A descriptor to append to a log, or to nowhere when the disk does not let us: for want of a log nothing stays unstarted."""
    try:
        return os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def exit_text(returncode: int) -> str:
    """How a process ended, for people: `exit 1`, `signal SIGKILL`."""
    if returncode >= 0:
        return f"exit {returncode}"
    try:
        return f"signal {signal.Signals(-returncode).name}"
    except ValueError:
        return f"signal {-returncode}"


def trim(log: Path, limit_bytes: int = LOG_MAX_BYTES) -> None:
    """Keep a log bounded: past the limit it is copied to `NAME.log.1` and emptied, under the writer that has it open."""
    try:
        if log.stat().st_size <= limit_bytes:
            return
        shutil.copyfile(log, log.with_name(log.name + ".1"))
        os.truncate(log, 0)
    except OSError:
        return  # no log yet, or a full disk: the log is the last thing to stop an assistant for
