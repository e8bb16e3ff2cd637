"""Whole turns, spoken at real pace: what the way through the processes adds, and how fast the rehearsal Whisper is."""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

import zmq

from bench.instance import Assistant, BenchError, assistant
from bench.result import Result, at_most, percentile
from bus.codec import Stamp
from bus.events import Publisher, Subscriber, wait_until_heard
from bus.limits import FRAME_MS
from bus.messages.speech import TranscriptFinal
from bus.settings import load_resolved
from bus.timings import TOTAL_TO_FIRST_TOKEN
from supervisor.modules import ROOT, command, environ

SPEECH = ROOT / "assets" / "speech"
FILES = (
    "conversation.wav",
    *("joke-slt.wav", "sum-rms.wav", "light-awb.wav", "password-kal16.wav", "package-espeak.flac", "timer-noisy.wav", "pauses.wav"),
)
GOAL_MS = 5.0
NOT_OURS = ("endpoint_wait", "transcribe", "first_token")
"""The parts of the wait that the silence limit and the two models take."""
OURS = ("submit", "stt_queue", "turn_wait", "turn_logic", "recall_wait", "recall", "llm_queue")


def measure() -> list[Result]:
    """The overhead of the pipeline in each turn, and the real-time factor of the rehearsal model."""
    with assistant() as running:
        turns, transcripts = _hear(running)
        silence_limit_s = load_resolved(running.addresses.config).vad.endpointing.silence_limit_s
    silence_ms = math.ceil(silence_limit_s * 1000 / FRAME_MS) * FRAME_MS
    waits = [turn["timings_ms"] for turn in turns if TOTAL_TO_FIRST_TOKEN in turn["timings_ms"]]
    if not waits or not transcripts:
        raise BenchError(f"{len(turns)} turns and {len(transcripts)} transcripts came back, {len(waits)} of them answered")
    overheads_ms = [overhead_ms(timings) for timings in waits]
    decided_ms = [timings["endpoint_wait"] - silence_ms for timings in waits if timings["endpoint_wait"] >= silence_ms]
    factors = [found.audio_ms / max(found.decode_ms, 1) for found in transcripts]
    return [
        at_most(
            GOAL_MS,
            name="pipeline p50",
            value=percentile(overheads_ms, 50),
            unit="ms",
            meaning=f"end of speech to first word in {len(waits)} turns, less the silence waited out and the work of the two models",
            parts={part: percentile([timings.get(part, 0.0) for timings in waits], 50) for part in OURS},
        ),
        Result(
            name="pipeline p99",
            value=percentile(overheads_ms, 99),
            unit="ms",
            meaning="the slowest of these turns" if len(waits) < 100 else "",
        ),
        Result(
            name="hearing p50",
            value=percentile(decided_ms, 50),
            unit="ms",
            meaning=f"from the capture of the frame that completes {silence_ms} ms of silence until the end of speech is decided",
        ),
        Result(
            name="Whisper speed p50",
            value=percentile(factors, 50),
            unit="×",
            meaning=f"length of an utterance beside the time to decode it with the rehearsal model, {len(factors)} utterances",
        ),
    ]


def overhead_ms(timings_ms: Mapping[str, float]) -> float:
    """What is left of the wait for the first word when nothing of it is waited for on purpose or spent by a model."""
    return timings_ms[TOTAL_TO_FIRST_TOKEN] - sum(timings_ms.get(part, 0.0) for part in NOT_OURS)


def _hear(running: Assistant) -> tuple[list[dict[str, Any]], list[TranscriptFinal]]:
    """Let the assistant hear the files. Return its turns, and its transcripts with their decoding times."""
    addresses = running.addresses
    argv = command("supervisor.cli", "hear", "--json", "--pace", "real", *(str(SPEECH / name) for name in FILES))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stamp = Stamp("bench", "1")
    publisher = Publisher(context, addresses.events_in, stamp)
    subscriber = Subscriber(context, addresses.events_out, (TranscriptFinal.topic,))
    transcripts: list[TranscriptFinal] = []
    wait_until_heard(publisher, subscriber, timeout_s=10.0)
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(argv, env={**environ(), **addresses.environ}, stdout=output)
        while process.poll() is None:
            subscriber.socket.poll(200)
            transcripts += [message.body for message in subscriber.receive() if isinstance(message.body, TranscriptFinal)]
        output.seek(0)
        turns = [json.loads(line) for line in output]
    context.destroy(linger=0)
    if process.returncode != 0:
        raise BenchError(f"`supervisor hear` ended with status {process.returncode} after {len(turns)} turns")
    return turns, transcripts
