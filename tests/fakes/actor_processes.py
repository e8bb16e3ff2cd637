"""Actors as real processes without a launcher, and one of ours beside them that the test turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bus.addresses import Addresses
from supervisor.notify import NotifySocket
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


class Processes:
    """Starts actors with settings of their own, and kills them."""

    def __init__(self, addresses: Addresses, settings: Mapping[str, Any]) -> None:
        """`settings` by their dotted names."""
        self.addresses = addresses
        self._options = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
        self._stack = ExitStack()
        self._notify = NotifySocket(str(addresses.notify_socket))
        self._stack.callback(self._notify.close)
        self._ready: set[int] = set()
        self._lives = 0
        self.troubles: dict[int, str] = {}
        """What each process last said of itself."""

    def start_until_ready(self, name: str) -> subprocess.Popen[bytes]:
        process = self.start(name)

        def is_ready() -> bool:
            self.listen()
            return process.pid in self._ready

        wait_until(is_ready)
        return process

    def listen(self) -> None:
        """Take what the processes tell their parent."""
        for notice in self._notify.receive():
            if "READY" in notice.values:
                self._ready.add(notice.pid)
            if "X_EARSHOT_TROUBLE" in notice.values:
                self.troubles[notice.pid] = notice.values["X_EARSHOT_TROUBLE"]

    def start(self, name: str) -> subprocess.Popen[bytes]:
        self._lives += 1
        environ = {
            **os.environ,
            **self.addresses.environ,
            "EARSHOT_PARENT_PID": str(os.getpid()),
            "NOTIFY_SOCKET": self._notify.address,
            "EARSHOT_INCARNATION": f"test.{self._lives}",
        }
        process = subprocess.Popen([sys.executable, "-m", "actors", name, *self._options], cwd=ROOT, env=environ)
        self._stack.callback(self.kill, process)
        return process

    @staticmethod
    def kill(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def close(self) -> None:
        self._stack.close()
