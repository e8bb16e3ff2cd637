"""`python -m bench.early URL [--runs N] [--pause-ms MS]`: what asking ahead of time and reading ahead bring, with a server of your own.

The real bridge, broker and dispatcher; this program is the ear and the listener. All times are from the moment at which the turn is
wanted until the bridge publishes the first piece of its reply. Each prompt is about 300 words long. The server does the work of a
few dozen short requests, and is otherwise left alone.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import zmq

from bench.instance import BenchError, actors, running
from bench.result import percentile
from bus.addresses import Addresses
from bus.codec import Stamp
from bus.events import Publisher, Subscriber, wait_until_heard
from bus.jobs import JobClient, Lease
from bus.messages.base import Message
from bus.messages.jobs import Answer, Job, JobMoved
from bus.messages.reply import ReplyDelta, ReplyDiscarded
from bus.messages.speech import SpeechStarted
from bus.messages.turn import Round
from bus.settings import DialogueSettings, InstanceSettings, LlmSettings, Role, Settings, dump_resolved
from supervisor.modules import command

RULES = 100
SPEECH_S = 2.0
LONGEST_S = 120.0
STREAM = "mic"


class Ear:
    """Asks, ahead of time and in earnest, and hears what the bridge publishes."""

    def __init__(self, addresses: Addresses, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        stamp = Stamp("vad", "1")
        self.publisher = Publisher(context, addresses.events_in, stamp)
        self._subscriber = Subscriber(context, addresses.events_out, ("reply.", JobMoved.topic))
        wait_until_heard(self.publisher, self._subscriber, LONGEST_S)
        self.jobs = JobClient(context, addresses.jobs, stamp)
        self.jobs.work("turn", Lease.done)
        self.heard: list[Message] = []
        self.until(lambda: self.jobs.connected, "the dispatcher")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Handle what comes until the condition holds."""
        end_s = time.monotonic() + LONGEST_S
        while not condition():
            if time.monotonic() > end_s:
                raise BenchError(f"waited {LONGEST_S:g} s for {what} in vain")
            self.rest(0.002)

    def rest(self, seconds: float) -> None:
        """Handle what comes for so long."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            zmq.select([self._subscriber.socket, self.jobs.socket, self.jobs.monitor], [], [], left_s)
            self.heard += self._subscriber.receive()
            while self.jobs.monitor.poll(0):
                self.jobs.notice_connection()
            self.jobs.receive()

    def first_word_ms(self, job: Job) -> float:
        """Submit a turn; how long until its first piece is published, and wait until it is over."""
        wanted_ns = time.monotonic_ns()
        self.jobs.submit(job)
        self.until(lambda: self._is_over(job), "a reply")
        self.until(lambda: self._deltas(job), "what the reply said")
        first = self._deltas(job)[0]
        return (first.envelope.mono_ns - wanted_ns) / 1e6

    def _deltas(self, job: Job) -> list[Message]:
        return [message for message in self.heard if message.envelope.turn == job.turn and isinstance(message.body, ReplyDelta)]

    def _is_over(self, job: Job) -> bool:
        moved = [message.body for message in self.heard if isinstance(message.body, JobMoved) and message.body.job_id == job.id]
        if any(body.state == "parked" for body in moved):
            raise BenchError(f"the server does not answer: {moved[-1].reason}")
        return any(body.state == "done" for body in moved)


def system(name: str) -> str:
    """A role that no server has read before."""
    return f"Your name is {name}-{time.time_ns()}. " + " ".join(f"Rule {number}: be kind." for number in range(RULES))


def question(role: str, turn: str, max_tokens: int = 16) -> Job:
    """A turn of a conversation in this role."""
    rounds = [Round(user="Hello.", assistant="Good day.")]
    work = Answer(transcript=f"And this is {turn}?", role="bench", system=role, max_tokens=max_tokens, rounds=rounds)
    return Job(turn=turn, stream=STREAM, work=work)


@contextmanager
def bridge(addresses: Addresses, url: str, role: str, *, warm: bool) -> Iterator[None]:
    """The actor `llm` in this role."""
    instance = InstanceSettings(str(addresses.runtime_dir), str(addresses.state_dir))
    dialogue = DialogueSettings(role="bench", roles={"bench": Role(prompt=role)})
    settings = Settings(instance=instance, dialogue=dialogue, llm=LlmSettings(url=url, model="", warm=warm))
    addresses.config.write_bytes(dump_resolved(settings))
    with running(command("actors", "llm"), addresses, variables={"EARSHOT_CONFIG": str(addresses.config)}):
        yield


def in_the_pause(ear: Ear, role: str, runs: int, pause_s: float) -> Iterator[tuple[str, list[float]]]:
    """The server has read the role already, as it has in a conversation."""
    ear.first_word_ms(question(role, "first"))
    found: dict[str, list[float]] = {"asked at the end": [], f"asked {pause_s * 1000:.0f} ms before it": []}
    late, early = found.values()
    for number in range(runs):
        late.append(ear.first_word_ms(question(role, f"late{number}")))
        job = question(role, f"early{number}")
        ear.jobs.speculate(job)
        ear.rest(pause_s)
        early.append(ear.first_word_ms(job))
    yield from found.items()


def at_the_first_turn(ear: Ear, addresses: Addresses, url: str, runs: int) -> Iterator[tuple[str, list[float]]]:
    """A new bridge each time, in a role that the server has not read."""
    found: dict[str, list[float]] = {"first turn, nothing read": [], f"first turn, read while somebody spoke for {SPEECH_S:g} s": []}
    for number in range(runs):
        for warm, waits in zip((False, True), found.values(), strict=True):
            role, turn = system("warm" if warm else "cold"), f"w{number}{warm:d}"
            with bridge(addresses, url, role, warm=warm):
                ear.publisher.publish(SpeechStarted(first_sample=0), turn=turn, stream=STREAM)
                ear.rest(SPEECH_S)
                waits.append(ear.first_word_ms(question(role, turn)))
    yield from found.items()


def called_off(ear: Ear, url: str, role: str, runs: int) -> Iterator[tuple[str, list[float]]]:
    """A long answer is under way, and the speaker goes on."""
    waits: list[float] = []
    for number in range(runs):
        job = question(role, f"off{number}", max_tokens=512)
        ear.jobs.speculate(job)
        ear.until(lambda: requests_running(url) > 0, "a request")
        ear.rest(0.3)
        if not requests_running(url):
            raise BenchError("the server's answers are over too soon: take a model that talks for longer")
        begun_ns = time.monotonic_ns()
        ear.jobs.withdraw(job.turn)
        ear.until(lambda: not requests_running(url), "the end of a request")
        waits.append((time.monotonic_ns() - begun_ns) / 1e6)
    tokens = [message.body.tokens for message in ear.heard if isinstance(message.body, ReplyDiscarded)]
    yield f"called off until the server runs nothing ({sum(tokens)} pieces thrown away)", waits


def requests_running(url: str) -> float:
    """vLLM's own figure."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/metrics", timeout=LONGEST_S) as answer:
        found = re.search(r"^vllm:num_requests_running\{.*?\} ([0-9.e+]+)$", answer.read().decode(), re.MULTILINE)
    if found is None:
        raise BenchError(f"{url} is no vLLM: it does not tell what it runs")
    return float(found[1])


def main() -> int:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(prog="python -m bench.early", description="What asking ahead of time brings with a server of yours.")
    parser.add_argument("url", help="of a vLLM, ending in /v1")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--pause-ms", type=int, default=450, help="how long before the end is decided the answer is begun")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {options.runs} runs")
    with ExitStack() as stack:
        addresses = stack.enter_context(actors("broker", "dispatcher"))
        ear = Ear(addresses, zmq.Context())
        role = system("talk")
        with bridge(addresses, options.url, role, warm=False):
            for name, waits in in_the_pause(ear, role, options.runs, options.pause_ms / 1000):
                show(name, waits)
            for name, waits in called_off(ear, options.url, role, options.runs):
                show(name, waits)
        for name, waits in at_the_first_turn(ear, addresses, options.url, options.runs):
            show(name, waits)
    return 0


def show(name: str, waits_ms: list[float]) -> None:
    """One line."""
    print(f"{name:70}{percentile(waits_ms, 50):8.0f} ms p50 {max(waits_ms):8.0f} ms longest", flush=True)


if __name__ == "__main__":
    sys.exit(main())
