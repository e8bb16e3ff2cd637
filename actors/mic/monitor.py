"""Is it a microphone that is heard? PulseAudio moves the stream of an unplugged microphone to another source, be it the monitor of the
loudspeaker, and PortAudio cannot tell. So a thread follows what the server says, by its own tool `pactl`. Without that nothing is known.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from typing import Any, Final

SERVER_DEVICES: Final = frozenset({"pulse", "default"})
"""The names under which PortAudio lists a sound server."""
LIST_S: Final = 5.0
_PACTL: Final = ("setpriv", "--pdeathsig", "KILL", "pactl")
_CHANGES: Final = ("on source-output #", "on server #")


def monitor_of(listed: Any, pid: int) -> str:
    """The description of the monitor that this process records; empty when it is none. `listed` is what `pactl --format=json list` says."""
    sources = {source["index"]: source for source in listed["sources"]}
    for output in reversed(listed["source_outputs"]):
        if output["properties"].get("application.process.id") == str(pid):
            source = sources.get(output["source"], {})
            return str(source["description"]) if source.get("properties", {}).get("device.class") == "monitor" else ""
    return ""


class MonitorWatch:
    """Follows one stream, from `begin` to `end`. `monitor` may be read by any thread."""

    def __init__(self) -> None:
        self.monitor = ""
        """The monitor that is heard instead of a microphone; empty when all is well, or when nothing is known."""
        self._end: Callable[[], None] = lambda: None

    def begin(self, device: str) -> None:
        """A stream of that device has been opened. Whoever names a monitor in PULSE_SOURCE wants it."""
        self.end()
        if device in SERVER_DEVICES and not os.environ.get("PULSE_SOURCE", "").endswith(".monitor"):
            following = _Following(self)
            self._end = following.end
            threading.Thread(target=following.run, name="monitor-watch", daemon=True).start()

    def end(self) -> None:
        """The stream is gone."""
        self._end()
        self._end, self.monitor = lambda: None, ""


class _Following:
    """One life of `pactl subscribe`. It ends with the server, which is when the stream does."""

    def __init__(self, watch: MonitorWatch) -> None:
        self._watch = watch
        self._lock = threading.Lock()
        self._is_over = False
        self._process: subprocess.Popen[str] | None = None

    def end(self) -> None:
        with self._lock:
            self._is_over = True
            if self._process is not None:
                self._process.kill()

    def run(self) -> None:
        try:
            self._follow()
        except (OSError, ValueError, LookupError, TypeError, AttributeError, subprocess.SubprocessError):
            self._tell("")  # no pactl, one that is too old, no server: nothing is known

    def _follow(self) -> None:
        with self._lock:
            if self._is_over:
                return
            self._process = subprocess.Popen([*_PACTL, "subscribe"], **_plain(), stdout=subprocess.PIPE)
        with self._process as process:
            assert process.stdout is not None
            try:
                self._look()
                for line in process.stdout:
                    if any(change in line for change in _CHANGES):
                        self._look()
            finally:
                process.kill()

    def _look(self) -> None:
        done = subprocess.run([*_PACTL, "--format=json", "list"], **_plain(), stdout=subprocess.PIPE, timeout=LIST_S, check=True)
        self._tell(monitor_of(json.loads(done.stdout), os.getpid()))

    def _tell(self, monitor: str) -> None:
        with self._lock:
            if not self._is_over:
                self._watch.monitor = monitor


def _plain() -> dict[str, Any]:
    """In English, for it is read by us; and quiet."""
    return {"env": {**os.environ, "LC_ALL": "C.UTF-8"}, "text": True, "stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
