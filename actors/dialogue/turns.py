"""What becomes of a turn, pure: a job of the queue `turn` in, what is said and the next job out.

A turn goes `Heard → Recall → … → Answered → Remember`, or ends early with words that need no model. Its state travels in its jobs,
so the turn manager keeps none of its own and may die between any two of them. Whatever happens, the last job is one `Remember`.

When nothing was understood, whether to ask again is a question of whether anybody spoke to us:

* The transcriber found no voice (silence, a cough, a door, a fan), whatever words it made of it: nothing is said.
* No words from less than REPROMPT_SPEECH_MS of sound that passed for speech: nothing is said.
* No words from longer speech, or words that are doubtful: the speaker is asked to say it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from bus.errors import SetupError
from bus.messages.jobs import Answered, AnyWork, Heard, Parked, Recall, Remember
from bus.settings import DialogueSettings

ANSWERED: Final = "answered"
EMPTY: Final = "empty"
FAILED: Final = "failed"
UNANSWERED: Final = "unanswered"

MIN_REPLY_TOKENS: Final = 64
REPLY_TOKENS_PER_WORD: Final = 5

NOBODY_SPOKE: Final = frozenset({"silence", "no-speech", "phantom"})
"""Reasons of the transcriber not to believe in words: there was no voice, or only a sentence that models invent for noise."""
REPROMPT_SPEECH_MS: Final = 1500
"""A cough, a laugh or a slammed door passes for speech of up to about a second; who says a sentence speaks for longer."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How the assistant talks: the role in use, and its own words where no model is asked."""

    role: str
    system: str
    """The role's prompt."""
    max_tokens: int
    """Cap of a reply's length."""
    reprompt: str
    apology: str


@dataclass(frozen=True, slots=True)
class Step:
    """What the turn manager does about one job."""

    say: str
    """Words of its own for the user; empty: it says nothing."""
    then: Recall | Remember | None
    """The next job of the turn. None: there is nothing left to do for it."""


def manner(settings: DialogueSettings) -> Manner:
    """The manner of the configured role. Raise SetupError when there is no such role."""
    role = settings.roles.get(settings.role)
    if role is None:
        raise SetupError(f"dialogue.role is {settings.role!r}, but there is no [dialogue.roles.{settings.role}]; {_known(settings)}")
    return Manner(settings.role, role.prompt, role.max_tokens, settings.reprompt, settings.apology)


def reply_tokens(transcript: str, cap: int) -> int:
    """How long a reply may be, in tokens: a short question gets a short answer, and never more than `cap`."""
    return min(cap, max(MIN_REPLY_TOKENS, REPLY_TOKENS_PER_WORD * len(transcript.split())))


def next_step(manner: Manner, work: AnyWork) -> Step:
    """What is to be done about `work`. Raise TypeError when it is not a job for the turn manager."""
    match work:
        case Heard():
            return _heard(manner, work)
        case Answered():
            return _answered(manner, work)
        case Parked():
            return _parked(manner, work)
    raise TypeError(f"a {type(work).__name__} is no job for the turn manager")


def _heard(manner: Manner, work: Heard) -> Step:
    if work.transcript.strip() and not work.doubtful and not work.rejected:
        return Step("", _recall(manner, work.transcript))
    say = manner.reprompt if _wants_reprompt(work) else ""
    detail = work.rejected or ("doubtful" if work.doubtful else "no words")
    return Step(say, Remember(role=manner.role, state=EMPTY, transcript=work.transcript, reply=say, detail=detail))


def _wants_reprompt(work: Heard) -> bool:
    if work.rejected in NOBODY_SPOKE:
        return False
    return bool(work.transcript.strip()) or work.speech_ms >= REPROMPT_SPEECH_MS


def _recall(manner: Manner, transcript: str) -> Recall:
    max_tokens = reply_tokens(transcript, manner.max_tokens)
    return Recall(transcript=transcript, role=manner.role, system=manner.system, max_tokens=max_tokens)


def _answered(manner: Manner, work: Answered) -> Step:
    if not work.reply.strip():
        return _apologise(manner, work.transcript, f"{work.model} gave an empty answer")
    detail = "" if work.finish_reason == "stop" else work.finish_reason
    return Step("", Remember(role=work.role, state=ANSWERED, transcript=work.transcript, reply=work.reply, detail=detail))


def _parked(manner: Manner, work: Parked) -> Step:
    if work.failed_stage == "remember":  # the user has had the answer; only memory could not keep it, and cannot keep this either
        return Step("", None)
    detail = f"{work.failed_stage}: {work.reason}"
    if not work.aloud:
        return Step("", Remember(role=manner.role, state=UNANSWERED, transcript=work.transcript, reply="", detail=detail))
    return _apologise(manner, work.transcript, detail)


def _apologise(manner: Manner, transcript: str, reason: str) -> Step:
    then = Remember(role=manner.role, state=FAILED, transcript=transcript, reply=manner.apology, detail=reason)
    return Step(manner.apology, then)


def _known(settings: DialogueSettings) -> str:
    names = sorted(settings.roles)
    close = get_close_matches(settings.role, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names) or 'none'}"
