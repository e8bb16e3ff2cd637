"""A source of sound that `supervisor hear` starts, and watches as the launcher watches its own: it must beat, and come on."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bus.addresses import Addresses
from bus.audio import Mark
from supervisor.modules import command, environ
from supervisor.notify import NotifySocket
from supervisor.process import exit_text, open_log

FIRST_BEAT_S = 10.0
"""From spawn to the first beat: the start of an interpreter on a busy machine."""
WATCHDOG_S = 2.0
STACKS_S = 1.0
"""From SIGABRT, on which a hung source writes its stacks, to SIGKILL."""
MAX_LIVES = 4
"""A source that is killed goes on where it was; one that dies again and again without coming on will not."""


class FileSource:
    """One file on one stream. Call `step` again and again until `over`."""

    def __init__(
        self, addresses: Addresses, stream: str, file: Path, *, name: str, pace: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start it. `name` names the log. The caller has the stream for itself, and has made its mark: the source takes that away at its
        end, so one that is missing means that the source was through, though it may have been killed between that and its exit."""
        self._addresses = addresses
        self._name = name
        self._stream = stream
        self._file = file
        self._pace = pace
        self._clock = clock
        self._notify = NotifySocket(f"@earshot-{name}-{os.getpid()}-{secrets.token_hex(4)}")
        self._said: dict[str, str] = {}
        self._lives = 0
        self._in_vain = 0  # lives since the last that came on
        self._reached = 0
        self._aborted = False
        self._watched_s = self._beat_due_s = clock()
        self.over = False
        self.problem = ""
        """Why the file cannot be heard, for the user; empty when it was."""
        self._process = self._spawn()

    @property
    def note(self) -> str:
        """What the source had to say of a file that it could read all the same: that its end is missing, for example."""
        return self._said.get("STATUS", "")

    def step(self) -> None:
        """Look after it: take its beats, end it when it hangs, start it again when it ended before the end of the file."""
        self._listen()
        if self.over:
            return
        if self._process.poll() is None:
            self._watch()
        else:
            self._died()

    def close(self) -> None:
        """End it, whatever it does. Without its files nobody waits for a successor of one that was killed."""
        self._process.kill()
        self._process.wait()
        self._notify.close()
        for kind in ("mark", "lock"):
            self._addresses.audio_file(self._stream, kind).unlink(missing_ok=True)

    @property
    def _mark_file(self) -> Path:
        return self._addresses.audio_file(self._stream, "mark")

    def _listen(self) -> None:
        for notice in self._notify.receive():
            if notice.pid == self._process.pid:
                self._said |= notice.values
                if notice.values.get("WATCHDOG") == "1":
                    self._beat_due_s = self._clock() + WATCHDOG_S
                elif notice.values.get("WATCHDOG") == "trigger":
                    self._beat_due_s = self._clock()

    def _watch(self) -> None:
        now_s = self._clock()
        if now_s - self._watched_s > WATCHDOG_S / 2:
            self._beat_due_s = max(self._beat_due_s, now_s + WATCHDOG_S)  # we were away ourselves, and did not hear it
        self._watched_s = now_s
        if now_s < self._beat_due_s:
            return
        if not self._aborted:
            self._aborted = True
            self._beat_due_s = now_s + STACKS_S
            self._process.send_signal(signal.SIGABRT)
            self._process.send_signal(signal.SIGCONT)
        else:
            self._process.kill()

    def _died(self) -> None:
        mark = Mark.read(self._mark_file)  # by this alone it is known to have been through, and not by how it ended
        self.problem = self._said.get("X_EARSHOT_REASON", "")
        if self.problem or mark is None:
            self.over = True
            return
        self._in_vain = 0 if mark.sample > self._reached else self._in_vain + 1
        self._reached = mark.sample
        if self._in_vain < MAX_LIVES:
            self._process = self._spawn()
        else:
            self.over = True
            how = exit_text(self._process.returncode)
            self.problem = f"{self._file} cannot be heard: its source ended with {how}; see `supervisor logs {self._name}`"

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._lives += 1
        self._aborted = False
        settings = {"source": "file", "file": str(self._file.absolute()), "pace": self._pace, "stream": self._stream}
        options = [part for key, value in settings.items() for part in ("--set", f"mic.{key}={json.dumps(value)}")]
        own = {
            "EARSHOT_CONFIG": str(self._addresses.config),
            "EARSHOT_INCARNATION": f"{self._name}-{os.getpid()}-{secrets.token_hex(2)}.{self._lives}",
            "EARSHOT_PARENT_PID": str(os.getpid()),
            "NOTIFY_SOCKET": self._notify.address,
            "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6)),
        }
        self._watched_s = self._clock()
        self._beat_due_s = self._watched_s + FIRST_BEAT_S
        log = open_log(self._addresses.logs_dir / f"{self._name}.log")
        try:
            return subprocess.Popen(
                command("actors", "mic", *options),
                env={**environ(), **self._addresses.environ, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        finally:
            os.close(log)
