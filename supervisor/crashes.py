"""What is kept of a crash: one directory with all that one wants to look at afterwards.

`summary.json` (who, how, when, which job, which versions), `log.txt` with the stacks of all threads, `bus.mcap` with the last seconds
of events, `job.msgpack` and its `payload.raw` when the job was still there, `config.json`. It is written by a process of its own,
so that nobody waits for it. What was said may be in it, as it is in the flight recording, and it is forgotten with that.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from bus.addresses import Addresses
from bus.errors import EarshotError
from bus.messages.base import Message
from bus.messages.jobs import Job, JobMoved
from bus.settings import load_resolved

KEPT: Final = 20
"""So many crashes at most; the oldest go."""
BEFORE_S: Final = 30.0
"""How much of the bus is kept."""
FLUSHED_AFTER_S: Final = 1.3
"""By then the flight recorder has written down what passed before the crash."""
LOG_BYTES: Final = 256 * 1024
LIBRARIES: Final = ("pyzmq", "msgspec", "numpy", "ctranslate2", "faster-whisper", "onnxruntime", "sounddevice", "requests")


@dataclass(frozen=True)
class Crash:
    """Who died, and how."""

    actor: str
    incarnation: str
    how: str
    """`signal SIGKILL`, `exit 1`."""
    reason: str
    """For the user: why it was killed, or what it said."""
    phase: str
    """What its main loop was doing, as far as it had told."""
    up_s: float
    wall_ns: int
    job_id: str = ""
    """The job that it held."""
    versions: Mapping[str, str] = field(default_factory=dict)


def write(addresses: Addresses, crash: Crash) -> Path:
    """Gather everything into a directory and return it. Raise OSError when it cannot be written."""
    jobs = dict(_open_jobs(addresses.spool))  # first: another worker may be through with the job in a moment
    when = datetime.fromtimestamp(crash.wall_ns / 1e9, UTC).strftime("%Y%m%d-%H%M%SZ")  # so that names sort by time
    base = addresses.crashes_dir
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = base / f"{when}-{crash.actor}-{crash.incarnation}"
    place.mkdir(mode=0o700, exist_ok=True)
    _copy_log(addresses.logs_dir / f"{crash.actor}.log", place / "log.txt")
    with suppress(OSError):
        shutil.copyfile(addresses.config, place / "config.json")  # holds no key: those are in the environment alone
    time.sleep(FLUSHED_AFTER_S)  # this process has nothing else to do, and nobody waits for it
    events = _copy_bus(addresses, crash, place / "bus.mcap")
    job_id = _job_of(events, f"{crash.actor}/{crash.incarnation}")
    if job_id in jobs and _may_keep_words(addresses):
        job, payload = jobs[job_id]
        (place / "job.msgpack").write_bytes(job)
        if payload:
            (place / "payload.raw").write_bytes(payload)
    summary = asdict(crash) | {"job_id": job_id, "versions": _versions()}
    (place / "summary.json").write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    _prune(base)
    return place


def crashes(addresses: Addresses) -> list[tuple[str, Crash]]:
    """The kept crashes by name, oldest first."""
    found = []
    for path in addresses.crashes_dir.glob("*/summary.json"):
        with suppress(OSError, msgspec.MsgspecError):
            found.append((path.parent.name, msgspec.json.decode(path.read_bytes(), type=Crash)))
    return sorted(found, key=lambda item: item[1].wall_ns)


def find(addresses: Addresses, name: str) -> tuple[Path, Crash]:
    """A crash by the beginning of its name, by its actor (the last one), or `last`. Raise EarshotError when there is none."""
    known = crashes(addresses)
    if not known:
        raise EarshotError(f"no crash is kept in {addresses.crashes_dir}")
    chosen = [(there, crash) for there, crash in known if name in ("last", crash.actor) or there.startswith(name)]
    if not chosen:
        raise EarshotError(f"there is no crash {name!r}; `supervisor crashes list` names them")
    return addresses.crashes_dir / chosen[-1][0], chosen[-1][1]


def read_job(place: Path) -> tuple[Job, bytes | None]:
    """The job that the dead process held. Raise EarshotError when it was not kept."""
    try:
        job = msgspec.msgpack.decode((place / "job.msgpack").read_bytes(), type=Job)
    except FileNotFoundError:
        raise EarshotError(
            f"the job was not kept in {place}: it had none, another worker was through with it already, or words are not recorded"
        ) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise EarshotError(f"cannot read the job in {place}: {error}") from None
    payload = place / "payload.raw"
    return job, payload.read_bytes() if payload.exists() else None


def _open_jobs(spool: Path) -> Iterator[tuple[str, tuple[bytes, bytes | None]]]:
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{spool.absolute().as_uri()}?mode=ro", uri=True)) as db:
        query = "SELECT job_id, job, payload FROM jobs LEFT JOIN payloads USING (number) WHERE attempts > 0"
        for job_id, job, payload in db.execute(query):
            yield job_id, (job, payload)


def _copy_log(log: Path, copy: Path) -> None:
    with suppress(OSError), log.open("rb") as source:
        source.seek(max(0, log.stat().st_size - LOG_BYTES))
        copy.write_bytes(source.read())


def _copy_bus(addresses: Addresses, crash: Crash, copy: Path) -> list[Message]:
    from bus.clock import SystemClock
    from bus.recording import About, RecordingWriter, read_flight

    since_ns = crash.wall_ns - round(BEFORE_S * 1e9)
    events = [item.what for item in read_flight(addresses.flight_dir, since_ns) if isinstance(item.what, Message)]
    writer = RecordingWriter(copy.open("wb"), About(program_version=importlib.metadata.version("earshot")), SystemClock())
    for event in events:
        writer.event(event)
    writer.close()
    return events


def _job_of(events: list[Message], worker: str) -> str:
    """The job that the worker had been given and had not brought back."""
    held = ""
    for event in events:
        if isinstance(event.body, JobMoved) and event.body.worker == worker:
            held = event.body.job_id if event.body.state in ("leased", "hedged", "requeued") else ""
    return held


def _may_keep_words(addresses: Addresses) -> bool:
    with suppress(EarshotError):
        return load_resolved(addresses.config).recorder.flight in ("events", "all")
    return False


def _versions() -> dict[str, str]:
    found = {"earshot": importlib.metadata.version("earshot"), "python": platform.python_version(), "kernel": platform.release()}
    for library in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[library] = importlib.metadata.version(library)
    return found


def _prune(base: Path) -> None:
    places = sorted(path for path in base.iterdir() if path.is_dir())
    for old in places[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def main() -> None:
    """Write down the crash that stands, as JSON, in the first argument."""
    os.nice(19)  # the successor of the dead process is being started just now
    crash: dict[str, Any] = json.loads(sys.argv[1])
    try:
        write(Addresses.resolve(), Crash(**crash))
    except OSError as error:
        sys.stderr.write(f"the crash of {crash['actor']} cannot be kept: {error.strerror}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
