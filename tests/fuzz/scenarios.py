"""What is no stream of messages: bytes that are no ZeroMQ, connections left half open, stolen names, floods."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import zmq

from bus.addresses import Addresses
from bus.codec import Stamp, decode
from bus.messages.base import Body
from bus.messages.control import ActorInfo, ControlRestart
from bus.messages.jobs import Job, JobAccepted, JobDone, JobRefused, JobSubmit, Remember, WorkerBye, WorkerHello
from tests.fuzz.generate import Generator

Context = zmq.Context[zmq.Socket[bytes]]
TRIES = 20

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
"""ZMTP 3.0, no security, as client."""
OPENINGS = (
    b"",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    b"\x00" * 300,
    b"\xff" * 300,
    b"\x01\x00",  # ZMTP 1.0
    b"\xff" + bytes(8) + b"\x7f\x01\x05",  # ZMTP 2.0
    GREETING[:20],
    GREETING,
    GREETING.replace(b"NULL", b"CURVE"[:4]),
    GREETING + b"\x04\xff\x05READY\x0bSocket-Type\x00\x00\x00\xff",
)
FRAMES = (
    b"\x02" + b"\x7f" + b"\xff" * 7,  # a frame of 2**63 bytes
    b"\x02" + b"\xff" * 8,
    b"\xff\xff\xff\xff",
    b"\x04\x05\x04PING",
    b"\x01\x00" * 2000,
    b"\x00\x01\x01",
)


def handshake(kind: bytes) -> bytes:
    """All that a well-behaved peer of that socket type says before its first message."""
    ready = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind + b"\x08Identity\x00\x00\x00\x00"
    return GREETING + b"\x04" + bytes([len(ready)]) + ready


def raw_bytes(addresses: Addresses, seed: str, count: int) -> int:
    """Connect to every socket file again and again, say what is no ZeroMQ message, and go. Return how often."""
    chance = random.Random(f"{seed}:raw")
    paths = sockets_of(addresses)
    for _ in range(count):
        start = chance.choice((*OPENINGS, handshake(b"DEALER"), handshake(b"PUB"), handshake(b"SUB"), handshake(b"NONSENSE")))
        end = chance.choice((*FRAMES, chance.randbytes(chance.choice((1, 100, 5000)))))
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
            stranger.settimeout(2)
            stranger.connect(str(chance.choice(paths)))
            stranger.sendall(start + end)
            if chance.random() < 0.2:
                stranger.recv(100)
    return count


def sockets_of(addresses: Addresses) -> list[Path]:
    """The stream sockets of an instance."""
    found = [path for path in (*addresses.runtime_dir.iterdir(), *addresses.audio_dir.iterdir()) if path.is_socket()]
    return sorted(path for path in found if path != addresses.notify_socket)


@contextmanager
def half_open(addresses: Addresses, count: int) -> Iterator[list[socket.socket]]:
    """So many connections to each socket that stay where they are: without a word, or in the middle of the greeting."""
    with ExitStack() as stack:
        opened = []
        for path in sockets_of(addresses):
            for number in range(count):
                stranger = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                stranger.settimeout(5)
                with suppress(OSError):
                    stranger.connect(str(path))
                    stranger.sendall((b"", GREETING[:12], GREETING)[number % 3])
                    opened.append(stranger)
        yield opened


def is_closed_by_peer(stranger: socket.socket) -> bool:
    """Whether the other side has given the connection up. Waits for it no longer than the socket's own time limit."""
    try:
        while stranger.recv(1000):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def datagrams(addresses: Addresses, seed: str, count: int) -> int:
    """Say nonsense to the launcher's notify socket. What it does not take at once is dropped, as for anybody. Return how many."""
    chance = random.Random(f"{seed}:notify")
    words = (
        b"READY=1",
        b"WATCHDOG=1",
        b"STOPPING=1",
        b"STATUS=\xff\xfe",
        b"X_EARSHOT_LOSSES=a=1,b=99999999999999999999",
        b"=",
        b"\n" * 50,
    )
    taken = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.setblocking(False)
        stranger.connect(str(addresses.notify_socket))
        for _ in range(count):
            data = chance.choice((*words, chance.randbytes(chance.choice((0, 10, 9000, 60_000))), b"STATUS=" + b"x" * 20_000))
            with suppress(BlockingIOError):
                stranger.send(data)
                taken += 1
    return taken


def stolen_names(context: Context, endpoint: str, actors: Sequence[ActorInfo], seed: str) -> int:
    """Say hello as each actor that there is, under its own identity and as a later life of it, and end leases in its name."""
    generator = Generator(f"{seed}:stolen", (JobDone.topic, WorkerHello.topic))
    said = 0
    for actor in actors:
        for incarnation in (actor.incarnation, "stolen"):
            stamp = Stamp(actor.actor, incarnation)
            bodies: list[Body] = [WorkerHello(queue=queue) for queue in ("stt", "turn", "llm", "memory")]
            bodies += [JobDone(lease="a#1", job_id="a", follow_ups=[]), WorkerBye()]
            with context.socket(zmq.DEALER) as thief:
                thief.setsockopt(zmq.LINGER, 100)
                thief.setsockopt(zmq.IDENTITY, f"{actor.actor}/{incarnation}".encode())
                thief.connect(endpoint)
                for body in bodies:
                    thief.send_multipart(stamp.pack(body))
                for _ in range(20):
                    thief.send_multipart(generator.shot().frames)
            said += len(bodies) + 20
    return said


def flood_of_jobs(context: Context, endpoint: str, count: int) -> tuple[int, int]:
    """Submit new jobs faster than they can be done. Return (said, refused)."""
    refused = 0
    work = Remember(role="plain", state="empty", transcript="", reply="")
    jobs = [Job(turn=f"flood-{number}", stream="flood", work=work) for number in range(count)]
    unanswered = {job.id: job for job in jobs}
    with context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, count)
        socket.setsockopt(zmq.RCVHWM, 2 * count)
        socket.connect(endpoint)
        stamp = Stamp("fuzz", "flood")
        for _ in range(TRIES):
            for job in list(unanswered.values()):  # again, for answers that found our queue full were dropped
                socket.send_multipart(stamp.pack(JobSubmit(job=job)))
            while unanswered and socket.poll(3000):
                body = decode(socket.recv_multipart()).body
                if isinstance(body, (JobAccepted, JobRefused)):
                    refused += isinstance(body, JobRefused) and body.job_id in unanswered
                    unanswered.pop(body.job_id, None)
    assert not unanswered, f"{len(unanswered)} submissions were never answered"
    return count, refused


def flood_of_commands(context: Context, endpoint: str, count: int) -> int:
    """Ask the launcher for restarts of actors that it does not have, without waiting for an answer. Return how often."""
    with context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        stamp = Stamp("fuzz", "flood")
        for number in range(count):
            socket.send_multipart(stamp.pack(ControlRestart(actor=f"nobody-{number}")))
        assert socket.poll(10_000), "the launcher does not answer"
    return count
