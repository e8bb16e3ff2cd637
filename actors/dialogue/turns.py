"""What becomes of a turn, pure: a job of the queue `turn` in, what is said and the next job out.

A turn goes `Heard → Recall → … → Answered → Remember`, or ends early with words that need no model. Its state travels in its jobs,
so the turn manager keeps none of its own and may die between any two of them. Whatever happens, the last job is one `Remember`.

Where it hangs on what came before whether something is for the assistant, or what it means, memory is asked first:
`Heard → LookBack → LookedBack → …`. Turns of one stream are taken in order, so by then memory has all that came before. The store is
the one place of that state, and nothing is lost with any process. Memory is asked

* when there is a wake phrase and it was not said: what comes soon after the assistant has spoken is for it all the same;
* for "yes" and "no", which answer the assistant's own question whether doubtful words were said;
* for "say that again".

When nothing was understood, whether to ask again is a question of whether anybody spoke to us:

* The transcriber found no voice (silence, a cough, a door, a fan), whatever words it made of it: nothing is said.
* No words from less than REPROMPT_SPEECH_MS of sound that passed for speech: nothing is said.
* No words from longer speech: the speaker is asked to say it again. Doubtful words: whether that was it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from actors.dialogue.manner import Manner
from actors.dialogue.phrases import Command, after_wake, command_of
from bus.messages.jobs import Answered, AnyWork, Heard, LookBack, LookedBack, Parked, Recall, Remember
from bus.messages.turn import LastTurn

ANSWERED: Final = "answered"
HANDLED: Final = "handled"
EMPTY: Final = "empty"
CONFIRMING: Final = "confirming"
IGNORED: Final = "ignored"
FAILED: Final = "failed"
UNANSWERED: Final = "unanswered"

MIN_REPLY_TOKENS: Final = 64
REPLY_TOKENS_PER_WORD: Final = 5

NOBODY_SPOKE: Final = frozenset({"silence", "no-speech", "phantom"})
"""Reasons of the transcriber not to believe in words: there was no voice, or only a sentence that models invent for noise."""
REPROMPT_SPEECH_MS: Final = 1500
"""A cough, a laugh or a slammed door passes for speech of up to about a second; who says a sentence speaks for longer."""
CONFIRM_WITHIN_MS: Final = 30_000
"""A "yes" that comes later is no answer to the question whether doubtful words were said."""
MOST_CONFIRM_WORDS: Final = 15
"""Nobody wants to hear more of what was perhaps not said."""
NEEDS_THE_PAST: Final = frozenset({Command.REPEAT, Command.YES, Command.NO})
BEFORE_ADDRESSED: Final = frozenset({"transcribe", "heard", "look-back", "looked-back"})
"""Stages at which it may not be known yet whether the words are for the assistant."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the turn manager does about one job."""

    say: str
    """Words of its own for the user; empty: it says nothing."""
    then: LookBack | Recall | Remember | None
    """The next job of the turn. None: there is nothing left to do for it."""
    command: Command | None = None
    """What the speaker wanted of the assistant itself."""


def reply_tokens(transcript: str, cap: int) -> int:
    """How long a reply may be, in tokens: a short question gets a short answer, and never more than `cap`."""
    return min(cap, max(MIN_REPLY_TOKENS, REPLY_TOKENS_PER_WORD * len(transcript.split())))


def next_step(manner: Manner, work: AnyWork, *, woken: bool = False, echo: bool = False) -> Step:
    """What is to be done about `work`. `woken`: it is known otherwise than from the words that they are for the assistant. `echo`: they
    are its own, heard back.

    Raise TypeError when it is not a job for the turn manager.
    """
    match work:
        case Heard() if echo:
            return _ignore(manner, "its own voice")
        case Heard():
            return _heard(manner, work, woken)
        case LookedBack():
            return _looked_back(manner, work, woken)
        case Answered():
            return _answered(manner, work)
        case Parked():
            return _parked(manner, work)
    raise TypeError(f"a {type(work).__name__} is no job for the turn manager")


def _heard(manner: Manner, work: Heard, woken: bool) -> Step:
    called = after_wake(manner.wake, work.transcript)
    if called == "":
        return _handle(manner, work, manner.texts.acknowledge, "wake")
    heard = work if called is None else msgspec.structs.replace(work, transcript=called)
    addressed = woken or not manner.wake or called is not None
    if not addressed and not somebody_spoke(heard):
        return _ignore(manner, "nobody spoke")
    command = command_of(manner.phrases, heard.transcript)
    if not addressed or command in NEEDS_THE_PAST:
        return Step("", LookBack(heard=heard, addressed=addressed))
    return _addressed(manner, heard, command)


def _looked_back(manner: Manner, work: LookedBack, woken: bool) -> Step:
    heard, last = work.heard, work.last
    command = command_of(manner.phrases, heard.transcript)
    doubted = last.transcript if last is not None and last.state == CONFIRMING and last.quiet_ms <= CONFIRM_WITHIN_MS else ""
    answers_us = bool(doubted) and command in (Command.YES, Command.NO)
    if not (woken or work.addressed or answers_us or _goes_on(manner, last)):
        return _ignore(manner, "no wake phrase")
    match command:
        case Command.YES if doubted:
            return Step("", _recall(manner, doubted), command)
        case Command.NO if doubted:
            return _handle(manner, heard, manner.texts.dropped, command.value, command)
        case Command.REPEAT if doubted:
            return _confirm(manner, doubted, command)
        case Command.REPEAT:
            return _handle(manner, heard, work.answer or manner.texts.nothing_said, command.value, command)
    return _addressed(manner, heard, command)


def _addressed(manner: Manner, heard: Heard, command: Command | None) -> Step:
    """What becomes of words, or of speech without words, that are for the assistant and need nothing that came before."""
    if command is Command.STOP:
        return _handle(manner, heard, "", command.value, command)
    words = heard.transcript.strip()
    if words and not heard.doubtful and not heard.rejected:
        return Step("", _recall(manner, heard.transcript))
    if words and not heard.rejected and manner.texts.confirm and len(words.split()) <= MOST_CONFIRM_WORDS:
        return _confirm(manner, words)
    say = manner.texts.reprompt if somebody_spoke(heard) else ""
    detail = heard.rejected or ("doubtful" if heard.doubtful else "no words")
    return Step(say, Remember(role=manner.role, state=EMPTY, transcript=heard.transcript, reply=say, detail=detail))


def _goes_on(manner: Manner, last: LastTurn | None) -> bool:
    """Whether what is said now belongs to a conversation that is under way."""
    return last is not None and last.spoke and last.quiet_ms < manner.follow_up_ms


def somebody_spoke(work: Heard) -> bool:
    """Whether this is somebody to whom the assistant has something to say, if only that it did not understand."""
    if work.rejected in NOBODY_SPOKE:
        return False
    return bool(work.transcript.strip()) or work.speech_ms >= REPROMPT_SPEECH_MS


def _confirm(manner: Manner, doubted: str, command: Command | None = None) -> Step:
    """Ask whether these words were said. Memory keeps them until that is answered."""
    say = manner.texts.confirm.replace("{words}", doubted.rstrip(".?!… "))
    return Step(say, Remember(role=manner.role, state=CONFIRMING, transcript=doubted, reply=say, detail="doubtful"), command)


def _handle(manner: Manner, heard: Heard, say: str, what: str, command: Command | None = None) -> Step:
    return Step(say, Remember(role=manner.role, state=HANDLED, transcript=heard.transcript, reply=say, detail=what), command)


def _ignore(manner: Manner, why: str) -> Step:
    """It was not for us: the turn is over, and its words go no further."""
    return Step("", Remember(role=manner.role, state=IGNORED, transcript="", reply="", detail=why))


def _recall(manner: Manner, transcript: str) -> Recall:
    max_tokens = reply_tokens(transcript, manner.max_tokens)
    return Recall(transcript=transcript, role=manner.role, system=manner.system, max_tokens=max_tokens)


def _answered(manner: Manner, work: Answered) -> Step:
    if not work.reply.strip():
        return _apologise(manner, work.transcript, manner.texts.apology, f"{work.model} gave an empty answer")
    detail = "" if work.finish_reason == "stop" else work.finish_reason
    return Step("", Remember(role=work.role, state=ANSWERED, transcript=work.transcript, reply=work.reply, detail=detail))


def _parked(manner: Manner, work: Parked) -> Step:
    if work.failed_stage == "remember":  # the user has had the answer; only memory could not keep it, and cannot keep this either
        return Step("", None)
    detail = f"{work.failed_stage}: {work.reason}"
    ours = not manner.wake or work.failed_stage not in BEFORE_ADDRESSED or after_wake(manner.wake, work.transcript) is not None
    transcript = work.transcript if ours else ""
    if not work.aloud:
        return Step("", Remember(role=manner.role, state=UNANSWERED, transcript=transcript, reply="", detail=detail))
    say = manner.texts.no_model if work.failed_stage == "answer" else manner.texts.apology
    return _apologise(manner, transcript, say, detail)


def _apologise(manner: Manner, transcript: str, say: str, reason: str) -> Step:
    return Step(say, Remember(role=manner.role, state=FAILED, transcript=transcript, reply=say, detail=reason))
