"""The runtime of an actor: one main loop over sockets, file descriptors and timers.

An actor is a class that is built with a Runtime. Its constructor loads what is large and says what it listens to; from then
on it is called. Everything happens in one thread; other threads hand work in with `Runtime.post`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Protocol

import msgspec
import zmq

from actors.liveness import Phases
from actors.log import Log
from actors.registry import find
from actors.timers import Timer, Timers
from bus.addresses import Addresses
from bus.clock import SystemClock
from bus.codec import Errors, Stamp
from bus.errors import EarshotError, SetupError, WireError
from bus.events import LoopBack, Publisher, Subscriber, monitor_event
from bus.jobs import Accepted, CommitHandler, JobClient, Lease, LeaseHandler
from bus.losses import CHECK_INTERVAL_S, Cause, Losses, Told
from bus.messages.base import Body, Message
from bus.messages.jobs import Job
from bus.notify import Notifier
from bus.security import refusal
from bus.settings import Settings, load_resolved

LONGEST_POLL_MS = 1000  # the phase `idle` is begun anew at least this often
PROBE_INTERVAL_S = 0.01

Handler = Callable[[Message], None]


class Actor(Protocol):
    """What the runtime asks of an actor."""

    def close(self) -> None:
        """Give back sockets, devices and files; called once, at the end."""


class ActorClass(Protocol):
    """An actor is built with its runtime. It raises SetupError for what only the user can put right."""

    def __call__(self, runtime: Runtime) -> Actor: ...


class Runtime:
    """What an actor has: its settings, its clock, its log, the three verbs, and the loop that calls it."""

    def __init__(self, name: str, settings: Settings, addresses: Addresses, phases: Phases, notifier: Notifier) -> None:
        self.name = name
        self.incarnation = incarnation_of(os.environ)
        self.settings = settings
        self.addresses = addresses
        self.phases = phases
        self.clock = SystemClock()
        self.log = Log(settings.log.level, settings.log.format, actor=name, incarnation=self.incarnation)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.timers = Timers(self.clock.monotonic_ns)
        self._losses = Losses(self.clock.monotonic_ns)
        self._losses_check: Timer | None = None
        self._errors = Errors()
        self.exit_on_signal = 0
        """Exit status after SIGTERM; another than 0 for an actor whose work is not finished then."""
        self._notifier = notifier
        self._poller = zmq.Poller()
        self._callbacks: dict[Any, Callable[[], None]] = {}
        self._handlers: list[tuple[str, Handler]] = []
        self._posted: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._exit_code: int | None = None
        self.events = Publisher(self.context, addresses.events_in, Stamp(name, self.incarnation))
        self._subscriber = Subscriber(self.context, addresses.events_out, (), self.malformed, self._on_missed)
        self._probe = LoopBack(self.events, self._subscriber)
        self._probing: Timer | None = None
        self._unheard: deque[Callable[[], None]] = deque()  # to be called once others can hear us
        self._jobs: JobClient | None = None
        self.watch(self._wake, self._run_posted)
        self.watch(self._subscriber.socket, self._receive_events)
        self._watch_broker()

    # -- the three verbs ------------------------------------------------------------------------------------------

    def publish(self, body: Body, *, turn: str = "", stream: str = "") -> None:
        """Publish an event. It may be lost; nothing may depend on it."""
        try:
            self.events.publish(body, turn=turn, stream=stream)
        except WireError as error:
            self.log.warning("an event is too large to be published", error=str(error))

    def once_heard(self, callback: Callable[[], None]) -> None:
        """Call `callback` when what is published can be heard: at the beginning, and after the broker was away, it is lost."""
        self._unheard.append(callback)
        self._run_unheard()

    def subscribe(self, topic: str, handler: Handler) -> None:
        """Call `handler` with each event whose topic begins with `topic`."""
        self._handlers.append((topic, handler))
        self._subscriber.subscribe(topic)

    def submit(self, job: Job, payload: bytes | None = None, on_accepted: Accepted | None = None) -> None:
        """Hand a job to the dispatcher, again and again until it has it; then call `on_accepted`."""
        self.jobs.submit(job, payload, on_accepted)

    def speculate(self, job: Job, payload: bytes | None = None, *, partial: bool = False) -> None:
        """Have a job done ahead of time; submitting the same job commits it. Nothing may depend on it."""
        self.jobs.speculate(job, payload, partial=partial)

    def withdraw(self, turn: str) -> None:
        """What is done ahead of this turn is void."""
        self.jobs.withdraw(turn)

    def work(self, queue: str, handler: LeaseHandler, on_committed: CommitHandler | None = None) -> None:
        """Be a worker of `queue`: `handler` gets one lease at a time and ends it, now or later. `on_committed` gets the name and the job
        of each lease ahead of time that had ended well and whose turn is wanted now."""

        def about_its_turn(lease: Lease) -> None:
            with self.log.about(lease.job.turn):
                handler(lease)

        self.jobs.work(queue, about_its_turn, on_committed)

    @property
    def jobs(self) -> JobClient:
        """The connection to the dispatcher, made when first used."""
        if self._jobs is None:
            stamp = Stamp(self.name, self.incarnation)
            client = JobClient(self.context, self.addresses.jobs, stamp, self.malformed, on_unsent=self.unsent, on_refused=self._on_refused)
            self.watch(client.socket, client.receive)
            self.watch(client.monitor, client.notice_connection)
            self.every(1.0, client.resend)
            self._jobs = client
        return self._jobs

    # -- what is lost ---------------------------------------------------------------------------------------------

    def count(self, cause: Cause, number: int = 1, *, stream: str = "", turn: str = "") -> None:
        """Count something that was lost or set aside. It is shown in `supervisor status` and told once per episode, so this may be
        called as often as it happens. For the main loop alone."""
        begun = self._losses.count(cause, number, stream=stream, turn=turn)
        if begun is None:
            return
        self._tell_losses(begun)
        if self._losses_check is None:  # only while there is something to tell: a timer costs an idle process its sleep
            self._losses_check = self.every(CHECK_INTERVAL_S, self._check_losses)

    def malformed(self, error: WireError) -> None:
        """A message was dropped because it does not follow the protocol. The first of a kind is logged."""
        if self._errors.count(error):
            self.log.warning("bad message dropped", error=str(error))
        self.count("messages-malformed")

    def unsent(self) -> None:
        """There was no room for a message; it is sent again later."""
        self.count("messages-unsent")

    def _check_losses(self) -> None:
        self._tell_losses(*self._losses.check())
        if not self._losses.in_episode and self._losses_check is not None:
            self._losses_check.cancel()
            self._losses_check = None

    def _tell_losses(self, *events: Told) -> None:
        """Tell the parent how it stands now, and everybody where an episode begins or ends."""
        self._notifier.tell(X_EARSHOT_LOSSES=self._losses.to_text())
        for told in events:
            self.publish(told.body, stream=told.stream, turn=told.turn)

    # -- the loop -------------------------------------------------------------------------------------------------

    def watch(self, source: zmq.Socket[Any] | int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever the socket or file descriptor can be read."""
        self._callbacks[source] = callback
        self._poller.register(source, zmq.POLLIN)

    def unwatch(self, source: zmq.Socket[Any] | int) -> None:
        """Stop watching; to be called before the source is closed."""
        self._poller.unregister(source)
        del self._callbacks[source]

    def after(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` once, later."""
        return self.timers.after(delay_s, callback)

    def every(self, interval_s: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` again and again."""
        return self.timers.every(interval_s, callback)

    def post(self, callback: Callable[[], None]) -> None:
        """Run `callback` in the main loop soon. The one method that other threads may call."""
        self._posted.append(callback)
        os.eventfd_write(self._wake, 1)

    def status(self, text: str) -> None:
        """Tell the parent, in words for the user, what this actor is doing. All is well."""
        self._notifier.tell(STATUS=text, X_EARSHOT_TROUBLE="")

    def trouble(self, text: str) -> None:
        """Tell the parent, and so the user, why this actor cannot do its work just now; `status` ends it."""
        self._notifier.tell(STATUS=text, X_EARSHOT_TROUBLE=text)

    def stop(self, exit_code: int = 0) -> None:
        """Leave the loop at the end of this round."""
        self._exit_code = exit_code if self._exit_code is None else self._exit_code
        os.eventfd_write(self._wake, 1)

    def nap(self, seconds: float) -> None:
        """Wait while the actor is being built, when there is no loop yet. Raises SystemExit when it is told to stop meanwhile."""
        select.select([self._wake], [], [], seconds)
        if self._exit_code is not None:
            raise SystemExit(self._exit_code)

    def run(self, actor_class: ActorClass) -> int:
        """Build the actor, become ready, loop, close; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        actor = actor_class(self)
        self._begin_probe()
        while self._exit_code is None:
            self._turn_once()
        self.phases.enter("stopping", self.phases.deadlines.stopping_s)
        self._notifier.tell(STOPPING="1")
        actor.close()
        self._close()
        return self._exit_code

    def _turn_once(self) -> None:
        self.phases.enter("idle", self.phases.deadlines.idle_s)
        ready = self._poller.poll(self.timers.wait_ms(LONGEST_POLL_MS))
        self.phases.enter("handling", self.phases.deadlines.handling_s)
        for source, _ in ready:
            callback = self._callbacks.get(source)  # an earlier callback of this round may have ended the watch
            if callback is not None:
                callback()
        self.timers.run_due()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stop(self.exit_on_signal)

    def _run_posted(self) -> None:
        os.eventfd_read(self._wake)
        while self._posted:
            self._posted.popleft()()

    def _close(self) -> None:
        if self._losses.totals:
            self._tell_losses()
        if self._jobs is not None:
            self._jobs.close()
        self.events.close()
        self._subscriber.socket.disable_monitor()  # before its reader is closed, as in `JobClient.close`
        self._broker_monitor.close()
        self._subscriber.close()
        self.context.term()

    # -- events ---------------------------------------------------------------------------------------------------

    def _receive_events(self) -> None:
        for message in self._subscriber.receive():
            if self._probe.hear(message):
                self._end_probe()
                continue
            for topic, handler in self._handlers:
                if message.topic.startswith(topic):
                    handler(message)

    def _begin_probe(self) -> None:
        self._probe.begin()
        self._probe.ask()
        self._probing = self.every(PROBE_INTERVAL_S, self._probe.ask)

    def _end_probe(self) -> None:
        if self._probing is not None and self._probe.heard:
            self._probing.cancel()
            self._probing = None
            self._notifier.tell(READY="1", WATCHDOG="1", X_EARSHOT_PHASE=self.phases.name)
            self._run_unheard()

    def _run_unheard(self) -> None:
        while self._unheard and self._probe.heard:
            self._unheard.popleft()()

    def _watch_broker(self) -> None:
        self._broker_monitor = self._subscriber.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        self.watch(self._broker_monitor, self._on_broker_lost)

    def _on_broker_lost(self) -> None:
        if monitor_event(self._broker_monitor) == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._notifier.tell(X_EARSHOT_REASON=refusal(self.addresses.remote))
            self.stop(1)  # ZeroMQ does not try again after this, so a new process does
        if self._probing is None:
            # Not a warning: every actor would import structlog at the same moment, and the broker would be back later for it.
            self.log.debug("event broker lost, subscribing again")
            self._begin_probe()

    def _on_refused(self, job: Job, reason: str) -> None:
        self.log.warning("a job was refused and is submitted again until it is taken", turn=job.turn, stage=job.stage, reason=reason)

    def _on_missed(self, message: Message, number: int) -> None:
        self.count("events-missed", number, stream=message.envelope.stream)


def incarnation_of(environ: Mapping[str, str]) -> str:
    """`LAUNCH.LIFE`: the launcher names it; under systemd the start of all and the invocation of the unit do."""
    if given := environ.get("EARSHOT_INCARNATION"):
        return given
    life = environ.get("INVOCATION_ID", "")[:8] or os.urandom(4).hex()
    return ".".join(filter(None, (environ.get("EARSHOT_LAUNCH"), life)))


def run(name: str, arguments: list[str], phases: Phases, notifier: Notifier) -> int:
    """Run actor `name` until it stops; return the exit status, EX_CONFIG for what only the user can put right."""
    try:
        settings = _settings(arguments)
        addresses = Addresses.resolve(settings.instance.runtime_dir, settings.instance.state_dir)
        found = find(name)
        phases.enter("loading", phases.deadlines.loading_s)
        return Runtime(name, settings, addresses, phases, notifier).run(found)
    except EarshotError as error:
        notifier.tell(X_EARSHOT_REASON=str(error), STATUS=str(error))
        sys.stderr.write(f"{name}: {error}\n")
        return os.EX_CONFIG if isinstance(error, SetupError) else 1
    except Exception as error:
        notifier.tell(X_EARSHOT_REASON=f"{name} crashed: {type(error).__name__} (see `supervisor logs {name}`)")
        raise


def _settings(arguments: list[str]) -> Settings:
    """The resolved configuration of the launcher, changed by `--set SECTION.KEY=JSON` arguments."""
    path = os.environ.get("EARSHOT_CONFIG")
    settings = load_resolved(path) if path else Settings()
    if not arguments:
        return settings
    tables: dict[str, Any] = msgspec.to_builtins(settings)
    for flag, text in zip(arguments[::2], arguments[1::2], strict=False):
        section, dot, key = text.partition("=")[0].partition(".")
        if flag != "--set" or not dot or section not in tables:
            raise SetupError(f"cannot use the argument {flag} {text}; write --set SECTION.KEY=JSON")
        try:
            tables[section][key] = msgspec.json.decode(text.partition("=")[2])
        except (msgspec.DecodeError, UnicodeError) as error:
            raise SetupError(f"cannot use the value of {section}.{key}: {error}") from None
    try:
        return msgspec.convert(tables, Settings)
    except msgspec.ValidationError as error:
        raise SetupError(f"--set: {error}") from None
