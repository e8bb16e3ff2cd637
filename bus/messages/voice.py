"""The voice: sound from whoever makes it (`tts`) to whoever plays it (`speaker`), and what was really heard of it.

The first six pass over the socket `voice`, which the speaker binds; the others are events. The turn stands in the envelope. A reply is
spoken clause by clause; a place in it is a clause and a sample of that clause, both counted from 0.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

from msgspec import Meta

from bus.limits import MAX_COUNT
from bus.messages.base import Body, Count, Line, Nanoseconds, Text

RateHz = Annotated[int, Meta(ge=4_000, le=192_000)]
VoiceState = Literal["idle", "waiting", "playing", "finished", "cut", "held"]
StopCause = Literal["user", "newer", "trouble"]
"""Why a reply is stopped: somebody spoke into it, another one took its place, or it could not be said to its end."""


class Place(NamedTuple):
    """In a reply. Everything before it, or nothing from it on, has a property."""

    clause: int
    sample: int


class VoiceSound(Body, frozen=True, kw_only=True):
    """Play this. The payload is mono int16 PCM; empty where there is only an end to tell of."""

    topic: ClassVar[str] = "voice.sound"
    attempt: Count
    """Of the reply. Of two attempts of a turn the newer one is played."""
    clause: Count
    first_sample: Count
    """Of the payload, within the clause."""
    rate_hz: RateHz
    """The same in the whole reply."""
    ends: bool = False
    """The clause ends with this payload."""
    last: bool = False
    """And with it the reply."""
    from_clause: Count = 0
    """Where a speaker begins that has nothing of the reply: everything before that was heard. What is lost on the way there comes again."""
    from_sample: Count = 0


class VoiceAsk(Body, frozen=True, kw_only=True):
    """How far is it? Answered with `voice.progress`."""

    topic: ClassVar[str] = "voice.ask"


class VoiceStop(Body, frozen=True, kw_only=True):
    """Be silent at once, if it is this reply that is being played. The answer tells what had been heard of it by then."""

    topic: ClassVar[str] = "voice.stop"
    attempt: Count
    cause: StopCause


class VoiceDuck(Body, frozen=True, kw_only=True):
    """Go on more quietly, or as before."""

    topic: ClassVar[str] = "voice.duck"
    on: bool


class VoiceHold(Body, frozen=True, kw_only=True):
    """Be silent at once and keep what has not been heard; or go on. What comes meanwhile is taken and kept too."""

    topic: ClassVar[str] = "voice.hold"
    on: bool


class VoiceProgress(Body, frozen=True, kw_only=True):
    """How far it is, with the reply that was played last; of nothing at all (`idle`) the turn is empty."""

    topic: ClassVar[str] = "voice.progress"
    state: VoiceState
    """`waiting`: for more of the reply. `cut`: it was stopped before its end, or another one came. `held`: it is silent and may go on."""
    attempt: Count = 0
    clause: Count = 0
    sample: Count = 0
    """Everything before this place has been heard."""
    next_clause: Count = 0
    next_sample: Count = 0
    """Everything before this place has arrived: this is what may be sent next."""
    first_sound_ns: Nanoseconds = 0
    """Monotonic time at which the first sample was heard; 0: none was."""
    last_sound_ns: Nanoseconds = 0
    """The same of the last sample so far."""
    trouble: Line = ""
    """Why nothing can be heard just now, for the user; empty when all is well."""
    cause: Literal["", "user", "newer", "trouble"] = ""
    """Of a reply that was cut: why; empty where that is not known any more."""


class VoiceSay(Body, frozen=True, kw_only=True):
    """Event: say this, outside of any conversation, under the turn of the envelope. As any event it may be lost."""

    topic: ClassVar[str] = "voice.say"
    words: ClassVar[frozenset[str]] = frozenset({"text"})
    text: Text


class VoiceStarted(Body, frozen=True, kw_only=True):
    """Event: the first sample of a reply is being heard. From now on the microphone hears us too."""

    topic: ClassVar[str] = "voice.started"
    attempt: Count
    at_ns: Nanoseconds
    """Monotonic; with the delay of the device in it."""


class VoicePlaying(Body, frozen=True, kw_only=True):
    """Event, each second while a reply is heard: for who has just started, or missed `voice.started`."""

    topic: ClassVar[str] = "voice.playing"
    attempt: Count
    since_ns: Nanoseconds
    """Monotonic, as the next: it has sounded since then without a break. After a wait for more of the reply it begins anew."""
    at_ns: Nanoseconds


class VoicePlayed(Body, frozen=True, kw_only=True):
    """Event: a clause has been heard, or as much of it as will be."""

    topic: ClassVar[str] = "voice.played"
    words: ClassVar[frozenset[str]] = frozenset({"text"})
    attempt: Count
    clause: Count
    samples: Annotated[int, Meta(ge=0, le=MAX_COUNT)]
    """Of this clause."""
    text: Text
    """All that was heard of the reply so far, as it was spoken."""


class VoiceFinished(Body, frozen=True, kw_only=True):
    """Event: the whole reply has been heard, and it is silent."""

    topic: ClassVar[str] = "voice.finished"
    attempt: Count
    at_ns: Nanoseconds


class VoiceCut(Body, frozen=True, kw_only=True):
    """Event: a reply was stopped before its end, and it is silent."""

    topic: ClassVar[str] = "voice.cut"
    attempt: Count
    cause: StopCause
    at_ns: Nanoseconds
