"""A worker of the queue `stt`: takes an utterance, gives a transcript."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import TYPE_CHECKING

from actors.whisper.guards import Judgement, Limits, Segment, judge_sound, judge_text
from actors.whisper.partials import stabilised
from bus import timings
from bus.jobs import Lease, Unwanted
from bus.messages.jobs import Heard, Job, Transcribe
from bus.messages.speech import TranscriptFinal, TranscriptPartial

if TYPE_CHECKING:
    from actors.actor import Runtime

LEASE_MARGIN_S = 5.0
"""From the deadline of the phase `transcribing` until the process is gone: a beat, the stacks, the kill."""
MAX_EARLY = 16
"""Results ahead of time that are kept until their turn is wanted; most of them never are."""
TRANSCRIBING_FLOOR_S = 10.0
TRANSCRIBING_PER_AUDIO = 2.0
TRANSCRIBING_PER_TRIAL = 20.0


class Whisper:
    """One loaded model in one process, with cores of its own."""

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings.whisper
        cores = len(os.sched_getaffinity(0))
        threads = min(settings.threads or cores, cores)  # more threads than cores would wait for each other at every barrier
        os.environ["OMP_NUM_THREADS"] = str(threads)
        runtime.status(f"loading {settings.model}")
        phases = runtime.phases
        with phases.during("importing", phases.deadlines.importing_s):
            from actors.whisper.engine import Engine, find_model
        with phases.during("finding model", runtime.settings.launcher.ready_timeout_s):  # it may have to be fetched
            path = find_model(settings.model, download=settings.download)
        with phases.during("loading model", settings.load_timeout_s):
            self._engine = Engine(path, settings, threads)
        self._runtime = runtime
        self._limits = Limits.of(settings)
        runtime.status(f"{settings.model} on {threads} cores")
        self._early: OrderedDict[str, TranscriptFinal] = OrderedDict()  # by lease: what may be told once its turn is wanted
        runtime.work(Transcribe.queue, self._on_lease, self._on_committed)

    def close(self) -> None:
        """Nothing to give back: the model goes with the process."""

    def _on_lease(self, lease: Lease) -> None:
        work = lease.job.work
        assert isinstance(work, Transcribe), f"a {lease.job.stage} job in the queue {Transcribe.queue}"
        start_ns = self._runtime.clock.monotonic_ns()
        limit_s = longest_s(work.audio_ms / 1000, self._engine.trial_s)
        if lease.deadline_ms < 1000 * (limit_s + LEASE_MARGIN_S):  # a slow machine: the job is not to go elsewhere before that
            lease.extend(round(1000 * (limit_s + LEASE_MARGIN_S)))
        try:
            with self._runtime.phases.during("transcribing", limit_s):
                segments, judgement = self._transcribe(lease, work.speech_ms)
        except Unwanted:
            lease.decline()
            return
        except Exception as error:  # whatever the libraries raise; one utterance must not take the worker with it
            self._runtime.log.exception("an utterance cannot be decoded", turn=lease.job.turn)
            lease.failed(f"Whisper cannot decode this utterance: {error}", retry=True)
            return
        if lease.ahead == "partial":
            lease.done()
            self._tell_partial(lease, work, judgement.text)
        else:
            self._end(lease, work, segments, judgement, start_ns)

    def _end(self, lease: Lease, work: Transcribe, segments: list[Segment], judgement: Judgement, start_ns: int) -> None:
        end_ns = self._runtime.clock.monotonic_ns()
        marks = lease.job.marks | {timings.STT_START: start_ns, timings.STT_END: end_ns}
        heard = Heard(transcript=judgement.text, doubtful=judgement.doubtful, rejected=judgement.rejected, speech_ms=work.speech_ms)
        # First the job, then the event: the next stage waits for the one, and nothing may wait for the other.
        lease.done([Job(turn=lease.job.turn, stream=lease.job.stream, work=heard, revision=lease.job.revision, marks=marks)])
        final = TranscriptFinal(
            text=judgement.text,
            audio_ms=work.audio_ms,
            decode_ms=(end_ns - start_ns) // 1_000_000,
            avg_logprob=min((segment.avg_logprob for segment in segments), default=0.0),
            no_speech_prob=max((segment.no_speech_prob for segment in segments), default=0.0),
            rejected=judgement.rejected,
            speech_ms=work.speech_ms,
        )
        if not lease.ahead:
            self._publish(lease.job, final)
            return
        self._early[lease.id] = final
        if len(self._early) > MAX_EARLY:
            self._early.popitem(last=False)
        at_pause = TranscriptPartial(
            text=judgement.text,
            stable_chars=0,
            revision=lease.job.revision,
            at_pause=True,
            avg_logprob=final.avg_logprob,
            speech_ms=work.speech_ms,
        )
        self._publish(lease.job, at_pause)

    def _on_committed(self, lease: str, job: Job) -> None:
        """What was heard ahead of time is the transcript."""
        final = self._early.pop(lease, None)
        if final is not None:
            self._publish(job, final)

    def _tell_partial(self, lease: Lease, work: Transcribe, text: str) -> None:
        shown, stable_chars = stabilised(work.guess[: work.guess_stable_chars], work.guess, text)
        self._publish(lease.job, TranscriptPartial(text=shown, stable_chars=stable_chars, revision=lease.job.revision))

    def _publish(self, job: Job, body: TranscriptFinal | TranscriptPartial) -> None:
        self._runtime.publish(body, turn=job.turn, stream=job.stream)

    def _transcribe(self, lease: Lease, speech_ms: int) -> tuple[list[Segment], Judgement]:
        """Raise Unwanted when the speaker goes on meanwhile, or the worker is needed for what is wanted."""
        pcm = lease.payload or b""
        sound = self._engine.look(pcm)
        rejected = judge_sound(sound.rms_dbfs, sound.voice_prob, self._limits)
        if rejected:
            return [], Judgement("", rejected)
        segments = self._engine.transcribe(pcm, quick=lease.ahead == "partial", between_steps=lease.check)
        return segments, judge_text(segments, speech_ms, self._limits)


def longest_s(audio_s: float, trial_s: float) -> float:
    """How long a decoding that ends at all may take here, seconds, given what the trial at the start took.

    At worst, an utterance that cannot be understood costs one try in a window of its own length (`whisper.window`), and then the full one:
    an encoding of 30 s, which the trial has measured, and three tries. A try is 224 tokens at most. For medium.en with five beams a token
    is 4.6 G operations and an encoding of 30 s 1.1 T: six trials in all, when nothing else wants the cores. Three times that is left for
    what else runs on them.
    """
    return max(TRANSCRIBING_FLOOR_S, TRANSCRIBING_PER_TRIAL * trial_s) + TRANSCRIBING_PER_AUDIO * audio_s
