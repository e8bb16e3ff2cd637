"""Work that was given up: what `supervisor parked` does. Through the dispatcher while one runs, else on the spool's file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import zmq

from bus.addresses import Addresses
from bus.codec import Stamp
from bus.errors import EarshotError
from bus.jobs import ask_dispatcher
from bus.messages.jobs import ParkedDrop, ParkedRetry, ParkedSettled
from bus.parked import drop_parked, read_parked
from bus.spool import Stored
from supervisor.instance import is_running, require_running

ANSWER_TIMEOUT_S: Final = 5.0


def listed(addresses: Addresses) -> list[Stored]:
    """The given-up jobs, oldest first. Raises EarshotError when the spool cannot be read."""
    return read_parked(addresses.spool)


def retry(addresses: Addresses, names: Sequence[str], *, everything: bool) -> list[str]:
    """Put jobs back; return which. Raises NoInstance without an assistant to do them, EarshotError for unknown names."""
    require_running(addresses)
    chosen = choose(listed(addresses), names, everything=everything)
    return _ask(addresses, ParkedRetry(job_ids=chosen)) if chosen else []


def drop(addresses: Addresses, names: Sequence[str], *, everything: bool) -> list[str]:
    """Remove jobs and wipe what was said in them; return which. Raises EarshotError for unknown names."""
    chosen = choose(listed(addresses), names, everything=everything)
    if chosen and is_running(addresses):
        return _ask(addresses, ParkedDrop(job_ids=chosen))
    drop_parked(addresses.spool, lambda stored: stored.job.id in chosen)
    return chosen


def choose(parked: Sequence[Stored], names: Sequence[str], *, everything: bool) -> list[str]:
    """The jobs that are meant: each name is that of a job, or of a turn and so of all its given-up jobs.

    Raises EarshotError when nothing or too much was named, or a name is unknown.
    """
    if everything == bool(names):
        raise EarshotError("say which jobs: their names as `supervisor parked list` shows them, or --all")
    unknown = [name for name in names if not any(name in (stored.job.id, stored.job.turn) for stored in parked)]
    if unknown:
        raise EarshotError(f"no given-up job is called {', '.join(unknown)}; see `supervisor parked list`")
    return [stored.job.id for stored in parked if everything or stored.job.id in names or stored.job.turn in names]


def words_of(stored: Stored) -> str:
    """What was said, where it was understood before the job was given up."""
    return getattr(stored.job.work, "transcript", "")


def fields(stored: Stored, *, words: bool) -> dict[str, Any]:
    """A given-up job for `--json`; times are in UTC. What was said is in it only when that is wanted."""
    job = stored.job
    told = {
        "job": job.id,
        "turn": job.turn,
        "stream": job.stream,
        "stage": job.stage,
        "attempts": stored.attempts,
        "spoken": datetime.fromtimestamp(stored.born.wall_ns / 1e9, UTC).isoformat(timespec="seconds"),
        "since": datetime.fromtimestamp((stored.parked_ns or 0) / 1e9, UTC).isoformat(timespec="seconds"),
        "reason": stored.reason,
    }
    return told | ({"words": words_of(stored)} if words else {})


def _ask(addresses: Addresses, command: ParkedRetry | ParkedDrop) -> list[str]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    stamp = Stamp("supervisor", str(os.getpid()))
    done = ask_dispatcher(context, addresses.jobs, stamp, command, ParkedSettled, timeout_s=ANSWER_TIMEOUT_S).job_ids
    if not done:
        raise EarshotError("somebody else was quicker: none of these jobs is given up any more; see `supervisor parked list`")
    return done
