"""What the events say, as Prometheus figures. No socket, no clock: each event comes with its time of arrival.

Names follow Prometheus: base units, `_total` for what only grows. No label ever holds a turn or anything that was said.
"""

from __future__ import annotations

from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bus.messages.actor import ActorState, LossTold
from bus.messages.base import Message
from bus.messages.jobs import JobMoved
from bus.messages.reply import ReplyDiscarded
from bus.messages.speech import SpeechSkipped, TranscriptFinal
from bus.messages.turn import TurnFinished, TurnRecord
from bus.timings import PARTS, TOTAL_TO_FIRST_TOKEN

HOP_BUCKETS_S: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
STAGE_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
RATIO_BUCKETS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0)
ENDS: Final = ("done", "requeued", "released", "parked")
"""What a worker's hold on a job ends with; of one that was hedged each worker's is counted."""
Key = TypeVar("Key")
MOST_OPEN: Final = 10_000
"""Jobs whose beginning is remembered; events may be lost, so some never end."""


class Figures:
    """Counts. `registry` is what is served."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        to = self.registry
        self._hop = Histogram(
            "earshot_event_hop_seconds",
            "From packing an event until it was received here, by way of the broker",
            ["topic"],
            buckets=HOP_BUCKETS_S,
            registry=to,
        )
        self._stage = Histogram(
            "earshot_turn_stage_seconds",
            "Parts of a turn, in their order; docs/observing.md",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=to,
        )
        self._wait = Histogram(
            "earshot_turn_wait_seconds", "From the true end of speech to the first piece of the reply", buckets=STAGE_BUCKETS_S, registry=to
        )
        self._turns = Counter("earshot_turns", "Turns that are over", ["state"], registry=to)
        self._skipped = Counter("earshot_speech_skipped", "Stretches of speech too short to be a turn", registry=to)
        self._factor = Histogram(
            "earshot_transcription_realtime_factor",
            "Time to transcribe an utterance by its length; below 1 is faster than speech",
            ["actor"],
            buckets=RATIO_BUCKETS,
            registry=to,
        )
        self._jobs = Counter("earshot_jobs", "What happened to jobs", ["stage", "event"], registry=to)
        self._queue = Histogram(
            "earshot_job_queue_seconds", "From the submission of a job to its first lease", ["stage"], buckets=STAGE_BUCKETS_S, registry=to
        )
        self._lease = Histogram(
            "earshot_job_lease_seconds", "How long a job was in a worker's hands", ["stage", "actor"], buckets=STAGE_BUCKETS_S, registry=to
        )
        self._discarded = Counter("earshot_replies_discarded", "Answers begun ahead of time and thrown away", registry=to)
        self._discarded_tokens = Counter("earshot_reply_tokens_discarded", "Pieces of a reply that had come of those", registry=to)
        self._losses = Counter("earshot_losses", "What was lost or set aside; docs/operations.md", ["actor", "cause"], registry=to)
        self._starts = Counter("earshot_actor_starts", "How often an actor became ready", ["actor"], registry=to)
        self._up = Gauge("earshot_actor_up", "1 while the actor is ready, 0.5 while it starts, else 0", ["actor"], registry=to)
        self._told: dict[tuple[str, str, str], int] = {}
        self._submitted_ns: dict[str, int] = {}
        self._leased_ns: dict[tuple[str, str], int] = {}

    def add(self, message: Message, arrived_ns: int) -> None:
        """Take in one event; `arrived_ns` is monotonic."""
        envelope = message.envelope
        self._hop.labels(message.topic).observe(max(0, arrived_ns - envelope.mono_ns) / 1e9)
        match message.body:
            case TurnFinished(record=record):
                self._turn(record)
            case JobMoved() as moved:
                self._job(moved, envelope.mono_ns)
            case TranscriptFinal(decode_ms=decode_ms, audio_ms=audio_ms) if audio_ms > 0:
                self._factor.labels(envelope.sender).observe(decode_ms / audio_ms)
            case SpeechSkipped():
                self._skipped.inc()
            case ReplyDiscarded(tokens=tokens):
                self._discarded.inc()
                self._discarded_tokens.inc(tokens)
            case LossTold(cause=cause, total=total):
                self._lose(envelope.sender, envelope.incarnation, cause, total)
            case ActorState(actor=actor, state=state):
                self._up.labels(actor).set({"ready": 1.0, "starting": 0.5}.get(state, 0.0))
                if state == "ready":
                    self._starts.labels(actor).inc()

    def _turn(self, record: TurnRecord) -> None:
        self._turns.labels(record.state).inc()
        for part in PARTS:
            if part in record.timings_ms:
                self._stage.labels(part).observe(record.timings_ms[part] / 1000)
        if TOTAL_TO_FIRST_TOKEN in record.timings_ms:
            self._wait.observe(record.timings_ms[TOTAL_TO_FIRST_TOKEN] / 1000)

    def _job(self, moved: JobMoved, now_ns: int) -> None:
        stage = moved.job_id.rsplit("/", 2)[-2] if moved.job_id.count("/") >= 2 else "unknown"
        self._jobs.labels(stage, moved.state).inc()
        if moved.state == "submitted":
            self._remember(self._submitted_ns, moved.job_id, now_ns)
            return
        if moved.state in ("leased", "hedged"):
            self._remember(self._leased_ns, (moved.job_id, moved.worker), now_ns)
        if moved.state == "leased":
            begun_ns = self._submitted_ns.pop(moved.job_id, None)
            if begun_ns is not None:
                self._queue.labels(stage).observe(max(0, now_ns - begun_ns) / 1e9)
        leased_ns = self._leased_ns.pop((moved.job_id, moved.worker), None) if moved.state in ENDS else None
        if leased_ns is not None:
            self._lease.labels(stage, moved.worker.partition("/")[0]).observe(max(0, now_ns - leased_ns) / 1e9)

    def _lose(self, sender: str, incarnation: str, cause: str, total: int) -> None:
        """Losses are told as totals of one life of an actor: an event that is missed is made up for by the next."""
        key = (sender, incarnation, cause)
        before = self._told.get(key, 0)
        self._told[key] = max(before, total)
        self._losses.labels(sender, cause).inc(max(0, total - before))

    @staticmethod
    def _remember(times: dict[Key, int], key: Key, now_ns: int) -> None:
        times[key] = now_ns
        if len(times) > MOST_OPEN:
            times.pop(next(iter(times)))
