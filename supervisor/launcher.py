"""The launcher: one poll over the control socket, the notify socket, pidfds, signals and timers.

It never waits for one child: what a child has to do in time is a timer, and what it does is an event.
"""

from __future__ import annotations

import os
import random
import resource
import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self

import zmq

from bus.addresses import Addresses
from bus.codec import Errors, Stamp
from bus.errors import EarshotError, WireError
from bus.losses import CHECK_INTERVAL_S, Losses
from bus.messages.actor import ActorExited, ActorState
from bus.messages.base import Body
from bus.messages.control import ControlDone, ControlRestart, ControlState, ControlStatus, ControlStop
from bus.notify import Notifier
from supervisor import modules
from supervisor.announce import PROBE_INTERVAL_S, Announcer
from supervisor.children import BROKER, MIC, Child
from supervisor.control import ControlServer, info
from supervisor.crew import Crew
from supervisor.drain import ASK_INTERVAL_S, Drain
from supervisor.journal import Journal
from supervisor.loop import Loop, Signals
from supervisor.notify import NotifySocket
from supervisor.process import Process, exit_text, trim
from supervisor.states import EX_CONFIG, Event, State
from supervisor.undertaker import Undertaker
from supervisor.ward import Patience, Ward

NAME: Final = "launcher"
TRIM_INTERVAL_S = 60.0
MAX_OPEN_FILES = 65_536
OWN_DELAY_S = 0.05
"""Later than planned by more than this, the launcher itself was stopped or had no processor, and does not blame the children for it:
meanwhile their beats may have found its queue full."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NOT_FOR_CHILDREN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "EARSHOT_INCARNATION", "EARSHOT_CPUS")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    failure: str = ""
    """Why it ended unasked, for the user; empty when all is well."""
    misconfigured: bool = False
    """Only the user can put it right."""


class Launcher:
    """Starts the children, watches them, and stops them. Use it as a context and call `run` once."""

    def __init__(
        self,
        children: Sequence[Child],
        addresses: Addresses,
        patience: Patience,
        *,
        until_source_ends: bool = False,
        keep_crashes: bool = False,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """The caller holds the lock of the runtime directory. Raises OSError when a socket cannot be bound."""
        self._addresses = addresses
        self._launch = secrets.token_hex(2)
        self._environ = modules.environ(environ)
        self._journal = Journal(addresses.logs_dir / f"{NAME}.log")
        self._undertaker = Undertaker(addresses, self._environ, self._journal.path, self._journal.write, active=keep_crashes)
        self._notifier = Notifier(environ)
        self._loop = Loop()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stamp = Stamp(NAME, self._launch)
        self._losses = Losses(time.monotonic_ns)
        self._errors = Errors()
        self._announcer = Announcer(self._context, addresses, stamp, self._malformed)
        self._drain = Drain(self._context, addresses.jobs, stamp, self._malformed) if until_source_ends else None
        self._draining = False
        self._control = ControlServer(self._context, addresses.control, stamp, self._command, self._malformed)
        self._notify = NotifySocket(str(addresses.notify_socket))
        wards = [
            Ward(child, patience, self._launch, spawn=self._spawn, chance=random.random, on_change=self._changed) for child in children
        ]
        self._crew = Crew(wards, patience.stop_s, one_shot=until_source_ends)
        self._told_ready = False
        self._told_stopping = False

    def run(self) -> Outcome:
        """Run until it is stopped or cannot go on."""
        self._journal.write(f"{NAME} {self._launch} begins, process {os.getpid()}")
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # hung children get SIGABRT
        # Whoever opens connections without end must not keep an actor from opening its files.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, hard), hard))
        # The notify socket is the first: what a child said comes before the news of its end, its last words being the reason.
        self._loop.watch(self._notify.fileno(), self._receive_notices)
        self._loop.watch(self._control.socket, self._control.receive)
        self._loop.watch(self._announcer.socket, self._announcer.receive)
        if self._drain:
            self._loop.watch(self._drain.socket, self._drain.receive)
        self._loop.every(TRIM_INTERVAL_S, self._tidy)
        self._beat_upwards()
        with Signals(STOP_SIGNALS) as signals:
            self._loop.watch(signals.fileno(), lambda: self._on_signals(signals.received()))
            self._step()
            while not self._crew.ended:
                late_s = self._loop.turn(self._crew.deadline_s())
                if late_s > OWN_DELAY_S:
                    self._crew.forgive(late_s)
                self._step()
        failure = self._crew.failure
        self._journal.write(f"{NAME} {self._launch} ends{': ' + failure if failure else ''}")
        return Outcome(failure, self._crew.misconfigured)

    def _step(self) -> None:
        now_s = self._loop.polled_s  # and no later: of what a child did after that nothing is known yet
        self._crew.run_due(now_s)
        self._crew.advance(now_s)
        self._tell_ready()
        self._end_with_source()
        if self._crew.stopping and not self._told_stopping:
            self._told_stopping = True
            self._notifier.tell(STOPPING="1")

    def close(self) -> None:
        """Give everything back. Whatever is still alive dies."""
        self._crew.kill()
        self._undertaker.close()
        self._announcer.close()
        self._control.close()
        self._notify.close()
        if self._drain:
            self._drain.close()
        self._journal.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # -- children -------------------------------------------------------------------------------------------------

    def _spawn(self, child: Child, incarnation: str) -> Process:
        process = Process(child, self._environ_of(child, incarnation), self._addresses.logs_dir / f"{child.name}.log")
        self._loop.watch(process.pidfd, partial(self._on_exit, child.name, process, incarnation))
        return process

    def _environ_of(self, child: Child, incarnation: str) -> dict[str, str]:
        environ = {name: value for name, value in self._environ.items() if name not in _NOT_FOR_CHILDREN}
        environ |= self._addresses.environ
        environ |= {
            "NOTIFY_SOCKET": str(self._addresses.notify_socket),
            "EARSHOT_CONFIG": str(self._addresses.config),
            "EARSHOT_INCARNATION": incarnation,
            "EARSHOT_PARENT_PID": str(os.getpid()),
        }
        if child.watchdog_s is not None:
            environ["WATCHDOG_USEC"] = str(round(child.watchdog_s * 1e6))
        if child.cpus:
            environ["EARSHOT_CPUS"] = child.cpus
        return {**environ, **child.env}

    def _on_exit(self, name: str, process: Process, incarnation: str) -> None:
        self._receive_notices()
        self._loop.unwatch(process.pidfd)
        returncode = process.bury()
        how = exit_text(returncode)
        self._journal.write(f"{name} {incarnation} ended: {how}")
        self._announcer.publish(ActorExited(actor=name, incarnation=incarnation, exit=how))
        ward = self._crew.wards[name]
        phase, now_s = ward.phase, time.monotonic()
        ward.buried(returncode, now_s)
        if ward.state in (State.BACKING_OFF, State.FAILED) and returncode != EX_CONFIG:
            up_s = now_s - ward.spawned_s
            self._undertaker.write_down(actor=name, incarnation=incarnation, how=how, reason=ward.reason, phase=phase, up_s=up_s)

    def _receive_notices(self) -> None:
        by_pid = {ward.process.pid: ward for ward in self._crew.wards.values() if ward.process}
        now_s = time.monotonic()
        for notice in self._notify.receive():
            ward = by_pid.get(notice.pid)
            if ward is not None:  # a stranger, or a child's child: only the process that we started speaks for an actor
                ward.notice(notice.values, now_s)

    def _changed(self, ward: Ward) -> None:
        troubled = ward.state in (State.BACKING_OFF, State.FAILED, State.KILLING)
        detail = ward.reason if troubled else ward.status if ward.state is State.STARTING else ward.trouble
        state = ward.state.shown
        self._journal.write(f"{ward.name} {ward.incarnation} {state}{': ' + detail if detail else ''}")
        self._publish_state(ward, detail)
        self._notifier.tell(STATUS=self._crew.summary())
        if detail and not self._told_ready and ward.state is not State.READY:
            self._notifier.tell(X_EARSHOT_TROUBLE=f"{ward.name}: {detail}")  # `start --detach` shows what is waited for
        if ward.name == BROKER:
            self._on_broker(state)

    def _publish_state(self, ward: Ward, detail: str) -> None:
        self._announcer.publish(ActorState(actor=ward.name, incarnation=ward.incarnation, state=ward.state.shown, detail=detail))

    def _on_broker(self, state: str) -> None:
        self._loop.cancel(self._probe)
        self._announcer.broker_down()
        if state == "ready":
            self._announcer.broker_up()
            self._loop.every(PROBE_INTERVAL_S, self._probe)

    def _probe(self) -> None:
        if self._announcer.heard:
            self._loop.cancel(self._probe)
        else:
            self._announcer.ask()

    # -- the whole ------------------------------------------------------------------------------------------------

    def _tell_ready(self) -> None:
        if self._told_ready or not self._crew.ready or (BROKER in self._crew.wards and not self._announcer.heard):
            return
        self._told_ready = True
        self._journal.write(f"{NAME} {self._launch} ready")
        for ward in self._crew.wards.values():
            if ward.trouble:
                self._publish_state(ward, ward.trouble)  # again: the console may have come later
        self._announcer.publish(ActorState(actor=NAME, incarnation=self._launch, state="ready"))
        self._notifier.tell(READY="1", STATUS=self._crew.summary())

    def _end_with_source(self) -> None:
        """With `until = "source-ends"`: once the source is done, wait until no job is open, then stop."""
        if self._drain is None or self._crew.stopping:
            return
        if self._drain.done:
            self._stop()
        elif not self._draining and MIC in self._crew.wards and self._crew.wards[MIC].done:
            self._draining = True
            self._drain.ask()
            self._loop.every(ASK_INTERVAL_S, self._drain.ask)

    def _stop(self) -> None:
        self._crew.stop(time.monotonic())

    def _on_signals(self, numbers: Sequence[signal.Signals]) -> None:
        for number in numbers:
            self._journal.write(f"{NAME} {self._launch} got {number.name}")
            if self._crew.stopping:
                self._crew.kill()  # asked for a second time, the user does not want to wait
            else:
                self._stop()

    def _beat_upwards(self) -> None:
        """systemd watches us as we watch the actors; the beat comes from this very loop and so is honest."""
        usec = int(self._environ.get("WATCHDOG_USEC") or 0)
        if usec and self._environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            self._loop.every(usec / 1e6 / 3, self._beat)

    def _beat(self) -> None:
        self._notifier.tell(WATCHDOG="1")

    def _tidy(self) -> None:
        self._undertaker.reap()
        for log in [self._journal.path, *self._logs()]:
            trim(log)

    def _logs(self) -> list[Path]:
        return [self._addresses.logs_dir / f"{name}.log" for name in self._crew.wards]

    # -- what is lost ---------------------------------------------------------------------------------------------

    def _malformed(self, error: WireError) -> None:
        if self._errors.count(error):
            self._journal.write(f"bad message dropped: {error}")
        told = self._losses.count("messages-malformed")
        if told is not None:
            self._announcer.publish(told.body)
            self._loop.every(CHECK_INTERVAL_S, self._check_losses)

    def _check_losses(self) -> None:
        for told in self._losses.check():
            self._announcer.publish(told.body)
        if not self._losses.in_episode:
            self._loop.cancel(self._check_losses)

    # -- commands -------------------------------------------------------------------------------------------------

    def _command(self, command: Body) -> Body:
        match command:
            case ControlStatus():
                now_s = time.monotonic()
                actors = [info(ward, now_s) for ward in self._crew.wards.values()]
                return ControlState(pid=os.getpid(), ready=self._told_ready, actors=actors, losses=dict(self._losses.totals))
            case ControlStop():
                self._stop()
            case ControlRestart(actor=name):
                self._restart(name)
            case _:
                raise WireError(f"{command.topic}: not for the launcher")
        return ControlDone()

    def _restart(self, name: str) -> None:
        ward = self._crew.wards.get(name)
        if ward is None:
            raise EarshotError(f"there is no actor {name!r} here; there are {', '.join(self._crew.wards)}")
        if self._crew.stopping:
            raise EarshotError("the assistant is stopping")
        ward.handle(Event.RESTART, time.monotonic())
