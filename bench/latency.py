"""The wait that people feel: from the true end of speech to the first word of the answer, beside the tutorials' single loop.

Both hear the same sentences at the pace of a microphone, with the same Whisper and the same server of replies, one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from actors.rehearsal_llm.actor import PORT_FILE
from bench import tutorial
from bench.instance import BenchError, actors, answer, assistant, child, running
from bench.listener import Hearing, Listener
from bench.models import REHEARSAL
from bench.result import Result, at_least, percentile
from bench.spoken import PAUSED, PLAIN, Outcome, Piece, SpokenFile, judge, read_pcm, spoken_files
from bus.limits import SAMPLE_RATE_HZ
from bus.messages.reply import ReplyDelta
from bus.messages.speech import SpeechSkipped, TranscriptFinal
from bus.settings import load_resolved
from bus.timings import AHEAD, TOTAL_TO_FIRST_TOKEN
from supervisor.modules import command

PRESET = "command"
"""What an assistant has that is not told otherwise."""
GOALS_S = {50: 0.30, 90: 0.40}
SOONER_GOAL = 5.0
READY_GOAL_MS, READY_SHARE_GOAL = 10.0, 95.0
FILE_S = 600.0
SERVED = "rehearsal"
TOPICS = (ReplyDelta.topic, SpeechSkipped.topic, TranscriptFinal.topic)


@dataclass
class Run:
    """What one assistant made of the whole set."""

    outcomes: list[Outcome] = field(default_factory=list)
    ready_ms: list[float] = field(default_factory=list)
    """How long after the end was decided each transcript was told, where there was time for it in the silence."""

    def waits_s(self, kind: str = "") -> list[float]:
        return [found.wait_s for found in self.outcomes if found.wait_s is not None and kind in ("", found.sentence.kind)]

    def faults(self, name: str) -> list[Outcome]:
        """The outcomes of which that is true."""
        return [found for found in self.outcomes if getattr(found, name)]


def measure() -> list[Result]:
    """The wait in both, what each understood, and how much sooner ours is."""
    files = spoken_files()
    ours = _ours(files)
    theirs, streamed, minimum_s = _theirs(files)
    for name, run in {"the assistant": ours, "the tutorial": theirs, "the streamed tutorial": streamed}.items():
        if not run.waits_s():
            raise BenchError(f"{name} answered none of {len(run.outcomes)} sentences")
    return [*_waits(ours, theirs, minimum_s), *_decided(ours), *_sooner(ours, theirs, streamed), *_faults(ours, theirs), *_ready(ours)]


def _waits(ours: Run, theirs: Run, minimum_s: float) -> list[Result]:
    meaning = (
        f"from the last sample of speech to the first word of the answer, {len(ours.waits_s())} sentences; beside the single loop of the "
        f"tutorials, with its silence of {tutorial.SILENCE_LIMIT_S:g} s and its minimum of speech lowered to {minimum_s:g} s, so that "
        "these sentences count"
    )
    results = []
    for percent in (50, 90, 99):
        value, baseline = percentile(ours.waits_s(), percent), percentile(theirs.waits_s(), percent)
        goal_s = GOALS_S.get(percent)
        results.append(
            Result(
                name=f"first word p{percent}",
                value=value,
                unit="s",
                meaning=meaning if percent == 50 else "",
                baseline=baseline,
                ratio=value / baseline,
                goal="" if goal_s is None else f"≤ {goal_s:g} s",
                ok=None if goal_s is None else value <= goal_s,
                parts={
                    f"{kind}{whose}": percentile(run.waits_s(kind), percent)
                    for kind in (PLAIN, PAUSED)
                    for whose, run in (("", ours), (", tutorials' loop", theirs))
                    if run.waits_s(kind)
                },
                parts_of="sentences",
            )
        )
    return results


def _sooner(ours: Run, theirs: Run, streamed: Run) -> list[Result]:
    plain_s = percentile(ours.waits_s(PLAIN), 50) if ours.waits_s(PLAIN) else float("inf")
    return [
        at_least(
            SOONER_GOAL,
            name="times sooner",
            value=percentile(theirs.waits_s(), 50) / percentile(ours.waits_s(), 50),
            unit="×",
            meaning="the tutorials' median wait by ours; they print the whole reply when it is there",
        ),
        Result(
            name="times sooner, plain, streamed",
            value=percentile(streamed.waits_s(), 50) / plain_s,
            unit="×",
            meaning="the same of the sentences without pauses, with a loop that prints a reply as it comes; the tutorials' does not",
        ),
    ]


def _faults(ours: Run, theirs: Run) -> list[Result]:
    faults = {
        "transcripts wrong": ("is_wrong", "sentences that were not understood as a whole and word for word"),
        "sentences split": ("is_split", "taken for more than one utterance"),
        "answered early": ("is_early", "answered while they were still being said"),
    }
    results = []
    for name, (fault, meaning) in faults.items():
        found = ours.faults(fault)
        untold = [one for one in found if fault == "is_wrong" or not one.is_wrong]
        results.append(
            Result(
                name=name,
                value=len(found),
                unit=f"of {len(ours.outcomes)}",
                meaning=f"{meaning}; the baseline is the tutorials' loop" + (f". Ours: {_told(untold)}" if untold else ""),
                baseline=len(theirs.faults(fault)),
                goal="0",
                ok=not found,
            )
        )
    return results


def _told(found: Sequence[Outcome]) -> str:
    return "; ".join(f"“{one.sentence.text}” heard as “{one.heard}”" for one in found)


def _decided(ours: Run) -> list[Result]:
    decided_s = [found.decided_s for found in ours.outcomes if found.decided_s is not None]
    return [
        Result(
            name=f"end decided p{percent}",
            value=percentile(decided_s, percent),
            unit="s",
            meaning="the part of our wait until the assistant took the silence for the end; the rest is what then had yet to be done"
            if percent == 50
            else "",
        )
        for percent in (50, 90)
    ]


def _ready(ours: Run) -> list[Result]:
    if not ours.ready_ms:
        return []
    return [
        at_least(
            READY_SHARE_GOAL,
            name="transcript at once",
            value=100 * sum(late_ms <= READY_GOAL_MS for late_ms in ours.ready_ms) / len(ours.ready_ms),
            unit="%",
            meaning=f"of {len(ours.ready_ms)} turns in whose silence there was time for the transcription: the transcript was told within "
            f"{READY_GOAL_MS:g} ms after the end was decided; half of them within {percentile(ours.ready_ms, 50):.1f} ms",
        )
    ]


# -- ours ---------------------------------------------------------------------------------------------------------


def _ours(files: Sequence[SpokenFile]) -> Run:
    found = Run()
    with assistant(f"vad.preset={PRESET}") as running, Listener(running, TOPICS) as listener:
        pause_ms = load_resolved(running.addresses.config).vad.pause_ms
        for spoken in files:
            heard = listener.hear(spoken.path)
            found.outcomes += judge(spoken.sentences, pieces_of(heard), [heard.at_ns(sentence.end) for sentence in spoken.sentences])
            found.ready_ms += ready_ms(heard, pause_ms)
    return found


def pieces_of(heard: Hearing) -> list[Piece]:
    """All utterances, and what was too short to be one."""
    told_ns, decided_ns = _told_ns(heard), _decided_ns(heard)
    turns = [
        Piece(first_sample(turn["turn"]), turn["transcript"], told_ns.get(turn["turn"]), decided_ns.get(turn["turn"]))
        for turn in heard.turns
    ]
    skipped = [message.body.first_sample for message in heard.messages if isinstance(message.body, SpeechSkipped)]
    return turns + [Piece(sample, "", None) for sample in skipped]


def _told_ns(heard: Hearing) -> dict[str, int]:
    """When the first word of each turn's answer was told: of its newest attempt, which alone counts."""
    found: dict[str, tuple[int, int]] = {}
    for message in heard.messages:
        if isinstance(message.body, ReplyDelta):
            turn = message.envelope.turn
            attempt, _ = found.get(turn, (-1, 0))
            if message.body.attempt > attempt:
                found[turn] = (message.body.attempt, message.envelope.mono_ns)
    return {turn: mono_ns for turn, (_, mono_ns) in found.items()}


def _decided_ns(heard: Hearing) -> dict[str, int]:
    """When the end of each turn that was answered was decided: so long before its first word as its times say."""
    told_ns = _told_ns(heard)
    known = {turn["turn"]: turn["timings_ms"] for turn in heard.turns if turn["turn"] in told_ns}
    return {
        name: told_ns[name] - round((timings_ms[TOTAL_TO_FIRST_TOKEN] - timings_ms["endpoint_wait"]) * 1e6)
        for name, timings_ms in known.items()
        if {TOTAL_TO_FIRST_TOKEN, "endpoint_wait"} <= timings_ms.keys()
    }


def ready_ms(heard: Hearing, pause_ms: int) -> list[float]:
    """How long after the end was decided each transcript was told, of the turns in whose silence there was time for it."""
    decided_ns, fitting = _decided_ns(heard), {turn["turn"] for turn in heard.turns if fits(turn["timings_ms"], pause_ms)}
    told = [one.envelope for one in heard.messages if isinstance(one.body, TranscriptFinal)]
    return [(one.mono_ns - decided_ns[one.turn]) / 1e6 for one in told if one.turn in fitting & decided_ns.keys()]


def fits(timings_ms: Mapping[str, float], pause_ms: int) -> bool:
    """Whether there was time for the whole transcription in the silence that was waited out, after the pause with which it begins."""
    if not {TOTAL_TO_FIRST_TOKEN, "endpoint_wait"} <= timings_ms.keys():
        return False
    transcribing_ms = timings_ms.get("transcribe", 0.0) + timings_ms.get(AHEAD["transcribe"], 0.0)
    return pause_ms + transcribing_ms <= timings_ms["endpoint_wait"]


def first_sample(turn: str) -> int:
    """Where the utterance begins that a turn is named after."""
    return int(turn.rpartition("-")[2])


# -- the tutorials' -----------------------------------------------------------------------------------------------


def _theirs(files: Sequence[SpokenFile]) -> tuple[Run, Run, float]:
    """What the loop made of all files; of the plain ones when it prints a reply as it comes; and its minimum of speech, s."""
    import webrtcvad

    pcm = {spoken.path: read_pcm(spoken.path) for spoken in files}
    shortest_s = min(
        tutorial.shortest_speech_s(webrtcvad.Vad(tutorial.VAD_MODE), pcm[spoken.path], [(one.begin, one.end) for one in spoken.sentences])
        for spoken in files
    )
    minimum_s = min(tutorial.MINIMUM_SPEECH_S, shortest_s)
    whole, streamed = Run(), Run()
    with actors("broker") as addresses, ExitStack() as stack:
        stack.enter_context(running(command("actors", "rehearsal-llm", "--set", "rehearsal_llm.enabled=true"), addresses))
        url = f"http://127.0.0.1:{(addresses.runtime_dir / PORT_FILE).read_text().strip()}/v1"
        pipe, _ = stack.enter_context(child(tutorial.run, REHEARSAL, url, SERVED))
        stack.callback(pipe.close)
        answer(pipe, "the tutorials' model")
        for run, is_streamed in ((whole, False), (streamed, True)):
            for spoken in files:
                if is_streamed and any(sentence.kind != PLAIN for sentence in spoken.sentences):
                    continue
                pipe.send((pcm[spoken.path], minimum_s, is_streamed))
                begin_ns, answers = answer(pipe, "the tutorials' loop", FILE_S)
                pieces = [Piece(found.begin, found.text, round(found.told_s * 1e9)) for found in answers]
                ends_ns = [begin_ns + sentence.end * 1_000_000_000 // SAMPLE_RATE_HZ for sentence in spoken.sentences]
                run.outcomes += judge(spoken.sentences, pieces, ends_ns)
    return whole, streamed, minimum_s
