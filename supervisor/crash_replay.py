"""`supervisor crashes replay`: the job that a dead process held, given to an assistant of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bus.addresses import Addresses
from bus.errors import EarshotError
from bus.limits import FRAME_BYTES
from bus.messages.actor import ActorExited
from bus.messages.base import Message
from bus.messages.jobs import JobMoved
from bus.moments import this_moment
from bus.recording import read_flight
from bus.replays import own_place
from bus.spool import Spool
from supervisor import start
from supervisor.crashes import read_job
from supervisor.replay import private_settings, write_wav

SILENCE_FRAMES: Final = 10
"""The assistant ends with its source, once no job is open: so it gets one, in which nothing is said."""


@dataclass(frozen=True)
class Verdict:
    """What became of the job this time."""

    reproduced: bool
    text: str


def replay(addresses: Addresses, place: Path, sets: Sequence[str]) -> Verdict:
    """Start an assistant with the configuration of the crash in directory `place`, with the job in its spool, and see whether its
    worker dies again. Raise EarshotError when the job was not kept, or the assistant does not start."""
    job, payload = read_job(place)
    try:
        recorded = json.loads((place / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise EarshotError(f"cannot read the configuration in {place}: {error}") from None
    with own_place(addresses.state_dir) as own:
        sound = own.state_dir / "silence.wav"
        write_wav(sound, bytes(SILENCE_FRAMES * FRAME_BYTES))
        once = ("jobs.max_attempts=1", "launcher.keep_crashes=false")
        settings = private_settings(own, sound, "replay", "fast", recorded, sets=[*sets, *once])
        own.prepare()
        spool = Spool(own.spool)
        spool.add(job, None, payload, born=this_moment())
        spool.close()
        start.run(settings, console=False)
        return verdict((item.what for item in read_flight(own.flight_dir, 0) if isinstance(item.what, Message)), job.id)


def verdict(events: Iterable[Message], job_id: str) -> Verdict:
    """What the events tell of the job."""
    holder, how = "", ""
    for event in events:
        match event.body:
            case JobMoved(job_id=moved, state="leased", worker=worker) if moved == job_id:
                holder = worker
            case ActorExited(actor=actor, incarnation=incarnation, exit=end) if holder == f"{actor}/{incarnation}":
                how = f"{actor} took it and ended again: {end}"
            case JobMoved(job_id=moved, state="done", worker=worker) if moved == job_id:
                return Verdict(False, f"{worker.partition('/')[0]} did {job_id} without a fault")
            case JobMoved(job_id=moved, state="parked", reason=reason) if moved == job_id:
                return Verdict(True, f"{job_id}: {how or f'given up: {reason}'}")
    return Verdict(bool(how), f"{job_id}: {how or 'nobody took it'}")
