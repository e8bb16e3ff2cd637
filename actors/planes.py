"""The two processes that the bus itself is made of, as actors: the broker of events and the dispatcher of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.storage import opened
from bus.codec import Stamp
from bus.losses import Cause
from bus.messages.actor import ActorExited, ActorState, BrokerBeat
from bus.messages.base import Message
from bus.messages.jobs import Job, JobMoved
from bus.messages.turn import TurnsLeft

if TYPE_CHECKING:
    from actors.actor import Runtime
    from actors.timers import Timer

BEAT_INTERVAL_S = 1.0
ANSWER_MARGIN_S = 10.0
SAY_S = 30.0
"""Extended for as long as the voice is at it."""


class BrokerActor:
    """Forwards events, and listens to itself: when its own beat does not come back, it ends, to be started anew."""

    def __init__(self, runtime: Runtime) -> None:
        from bus.broker import Broker

        self._runtime = runtime
        self._broker = Broker(runtime.context, runtime.addresses.events_in, runtime.addresses.events_out)
        self._heard = True
        runtime.subscribe(BrokerBeat.topic, self._on_beat)
        runtime.every(BEAT_INTERVAL_S, self._check)

    def close(self) -> None:
        self._broker.close()

    def _on_beat(self, _message: Message) -> None:
        self._heard = True

    def _check(self) -> None:
        if not self._heard:
            self._runtime.log.error("events no longer come through, ending to be started anew")
            self._runtime.stop(1)
        self._heard = False
        self._runtime.publish(BrokerBeat())


class DispatcherActor:
    """Keeps the jobs."""

    def __init__(self, runtime: Runtime) -> None:
        from bus.dispatcher import Dispatcher
        from bus.resume import Limit
        from bus.spool import open_spool

        self._runtime = runtime
        settings = runtime.settings
        spool, mended = opened(runtime, lambda: open_spool(runtime.addresses.spool, settings.jobs.synchronous))
        self._dispatcher = Dispatcher(
            runtime.context,
            runtime.addresses.jobs,
            spool,
            Stamp(runtime.name, runtime.incarnation),
            runtime.clock,
            max_attempts=settings.jobs.max_attempts,
            deadlines_s={"transcribe": 30.0, "answer": settings.llm.total_timeout_s + ANSWER_MARGIN_S, "say": SAY_S},
            hedge_after_s=settings.jobs.hedge_after_s,
            unserved=("say",) if settings.tts.engine == "none" else (),
            limit=Limit(runtime.incarnation.rpartition(".")[0] or runtime.incarnation, settings.jobs.resume_max_age_s),
            on_moved=self._on_moved,
            on_trouble=self._on_trouble,
            on_bad=runtime.malformed,
            on_count=self._on_count,
            on_left=self._on_left,
        )
        self._timer: Timer | None = None
        if mended:
            self._on_trouble(mended)  # and it stands in `status` until there is other news
        runtime.subscribe(ActorExited.topic, self._on_exited)
        runtime.watch(self._dispatcher.socket, self._receive)
        self._plan_tick()

    def close(self) -> None:
        self._dispatcher.close()

    def _receive(self) -> None:
        self._dispatcher.receive()
        self._plan_tick()

    def _tick(self) -> None:
        self._dispatcher.tick()
        self._plan_tick()

    def _plan_tick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait_s = self._dispatcher.wait_s()
        self._timer = None if wait_s is None else self._runtime.after(wait_s, self._tick)

    def _on_exited(self, message: Message) -> None:
        if isinstance(message.body, ActorExited):
            self._dispatcher.worker_exited(message.body.actor, message.body.incarnation)
            self._plan_tick()

    def _on_count(self, cause: Cause, job: Job | None) -> None:
        self._runtime.count(cause, turn=job.turn if job else "", stream=job.stream if job else "")

    def _on_left(self, number: int, since_wall_ns: int) -> None:
        """Turns were too old to be answered. Told when everything runs: before that nobody is there to show it."""
        left = TurnsLeft(number=number, since_wall_ns=since_wall_ns)
        self._runtime.log.warning("turns of an earlier run were too old to be answered", number=number)
        self._runtime.status(f"turns of an earlier run left unanswered: {number}; see `supervisor parked list`")

        def tell(message: Message) -> None:
            body = message.body
            if isinstance(body, ActorState) and (body.actor, body.state) == ("launcher", "ready"):
                self._runtime.publish(left)

        self._runtime.subscribe(ActorState.topic, tell)

    def _on_moved(self, job: Job, moved: JobMoved) -> None:
        self._runtime.publish(moved, turn=job.turn, stream=job.stream)

    def _on_trouble(self, line: str) -> None:
        if line:
            self._runtime.trouble(line)
            self._runtime.log.error(line)
        else:
            self._runtime.status("jobs are taken and written down again")
