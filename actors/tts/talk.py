"""Who speaks when, and what becomes of it. Pure: facts come in, what is to be done is taken out with `actions`.

A reply is begun from its events, clause by clause, and completed by its job. One reply is spoken at a time. Of the attempts of a turn only
the newest is spoken. The speaker tells what was heard; what it does not have it is sent again. Whatever happens, a reply that is owed
ends: heard whole, cut short, or not heard for a reason.

This is the one place that decides about the voice: whoever wants it quieter or silent calls `duck`, `hold` or `interrupt`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from actors.tts.speech import Key, Speech
from bus.messages.voice import Place, StopCause, VoiceDuck, VoiceHold, VoicePlayed, VoiceProgress, VoiceSound, VoiceStop

SILENT_S: Final = 2.0
"""Without an answer for so long, the speaker is not there."""
PATIENCE_S: Final = 4.0
"""A speaker that is not there, or can make nothing heard, is waited for so long: a restart or a plug takes less."""
STUCK_S: Final = 60.0
"""A reply of which nothing comes for so long, neither words made into sound nor sound heard, is given up."""
TICK_S: Final = 0.25
MAX_SPEECHES: Final = 16
MAX_OVER: Final = 64


@dataclass(frozen=True)
class Make:
    """Make sound of this clause; tell of it with `made` and in the end `is_made` or `failed`."""

    key: Key
    clause: int
    text: str


@dataclass(frozen=True)
class Send:
    """To the speaker."""

    key: Key
    stream: str
    body: VoiceSound | VoiceStop | VoiceDuck | VoiceHold
    pcm: bytes | None = None


@dataclass(frozen=True)
class Tell:
    """An event."""

    key: Key
    stream: str
    body: VoicePlayed


@dataclass(frozen=True)
class Ended:
    """Nothing more comes of a reply."""

    key: Key
    how: Literal["heard", "cut", "unheard"]
    text: str = ""
    """Of one that was cut: the words that were heard."""
    reason: str = ""
    """Why it was not heard, for the user."""
    first_ns: int = 0
    last_ns: int = 0


Action = Make | Send | Tell | Ended


class Said(NamedTuple):
    """An answer that is being heard."""

    turn: str
    stream: str
    text: str
    """Its words, as far as they are known."""


class Talk:
    """All that is being said, or waits to be."""

    def __init__(self, language: str, clock_ns: Callable[[], int]) -> None:
        """`language`: an ISO code."""
        self._language = language
        self._clock_ns = clock_ns
        self._speeches: OrderedDict[str, Speech] = OrderedDict()
        self._over: OrderedDict[Key, Ended] = OrderedDict()
        self._current: Speech | None = None
        self._making: Make | None = None
        self._made_for: Speech | None = None
        self._known: tuple[Key, VoiceProgress] | None = None
        self._speaker = ""  # which life of it
        self._seen_next: Place | None = None
        self._unanswered_ns: int | None = None  # since when the speaker owes an answer
        self._unusable_ns: int | None = None
        self._is_ducked = self._is_held = False
        self._actions: list[Action] = []

    @property
    def busy(self) -> bool:
        """Whether `tick` is to be called each TICK_S, and the speaker asked how far it is."""
        return bool(self._speeches)

    @property
    def making(self) -> Make | None:
        """What is wanted of the engine; a clause that nobody wants any more is not it."""
        return self._making if self._making is not None and self._wanting(self._making) else None

    def actions(self) -> list[Action]:
        """What is to be done now, in order."""
        self._go_on()
        actions, self._actions = self._actions, []
        return actions

    # -- words --------------------------------------------------------------------------------------------------------

    def started(self, key: Key, stream: str) -> None:
        """A reply is about to come. What earlier attempts said is void."""
        self._speech(key, stream)

    def piece(self, key: Key, stream: str, index: int, text: str) -> None:
        """A piece of a reply."""
        if speech := self._speech(key, stream):
            speech.piece(index, text)

    def whole(self, key: Key, stream: str, text: str) -> None:
        """All of a reply, from its event."""
        if speech := self._speech(key, stream):
            speech.whole(text)

    def owe(self, key: Key, stream: str, text: str) -> None:
        """There is a job: this reply is to be said, and its end told. It may be over already."""
        if key in self._over:
            self._actions.append(self._over[key])
        elif speech := self._speech(key, stream):
            speech.is_owed = True
            speech.moved_ns = self._clock_ns()
            speech.whole(text)
            self._settle(speech)
        else:
            self._actions.append(Ended(key, "unheard", reason="there is a newer answer"))

    # -- sound --------------------------------------------------------------------------------------------------------

    def made(self, make: Make, rate_hz: int, pcm: bytes) -> None:
        """The engine has more sound of a clause."""
        if speech := self._wanting(make):
            speech.made(make.clause, rate_hz, pcm)
            speech.moved_ns = self._clock_ns()

    def is_made(self, make: Make) -> None:
        """It has all of it."""
        speech, self._making = self._wanting(make), None
        if speech is not None:
            speech.clauses[make.clause].is_whole = True
            speech.moved_ns = self._clock_ns()

    def failed(self, make: Make, reason: str) -> None:
        """It cannot."""
        speech, self._making = self._wanting(make), None
        if speech is not None:
            speech.failure = reason
            self._settle(speech)

    # -- the speaker --------------------------------------------------------------------------------------------------

    def progress(self, turn: str, speaker: str, progress: VoiceProgress) -> None:
        """The speaker tells how far it is; `speaker` names its life."""
        now_ns = self._clock_ns()
        self._unanswered_ns = None
        self._unusable_ns = (self._unusable_ns or now_ns) if progress.trouble else None
        key, is_new = Key(turn, progress.attempt), speaker != self._speaker
        self._speaker, self._known = speaker, (key, progress)
        speech = self._find(key)
        if speech is not None:
            self._heard(speech, progress)
            if is_new:
                speech.send_again(Place(progress.next_clause, progress.next_sample))
            self._settle(speech)
        if is_new:
            if self._current is not None and self._current is not speech:
                self._current.send_again(self._current.heard)
            self._send(key, "", VoiceDuck(on=self._is_ducked))  # a predecessor of ours may have told it otherwise

    def _heard(self, speech: Speech, progress: VoiceProgress) -> None:
        before = speech.heard
        ended = speech.hear(Place(progress.clause, progress.sample))
        if speech.heard != before:
            speech.moved_ns = self._clock_ns()
        speech.state, speech.is_interrupted = progress.state, progress.cause in ("user", "")
        speech.first_ns = speech.first_ns or progress.first_sound_ns
        speech.last_ns = progress.last_sound_ns or speech.last_ns
        if ended:
            self._tell(speech, ended[-1], speech.clauses[ended[-1]].samples)

    def tick(self) -> None:
        """The speaker was asked, and some time has passed: has anything been lost, is anybody still there?"""
        now_ns = self._clock_ns()
        if self._unanswered_ns is None:
            self._unanswered_ns = now_ns
        if now_ns - self._unanswered_ns > SILENT_S * 1e9:
            self._unusable_ns = self._unusable_ns or now_ns
        if self._unusable_ns is not None and now_ns - self._unusable_ns > PATIENCE_S * 1e9:
            reason = (self._known[1].trouble if self._known else "") or "the speaker does not answer"
            for speech in list(self._speeches.values()):
                self._stop(speech, "trouble")  # it is not to be said out of the blue later
                self._end(speech, "cut" if speech.is_stopping else "unheard", reason)
        current = self._current
        if current is None:
            return
        if self._is_held:
            current.moved_ns = now_ns
        if now_ns - current.moved_ns > STUCK_S * 1e9 and (current.is_owed or len(self._speeches) > 1):
            self._stop(current, "trouble")
            self._end(current, "unheard", "nothing came of it any more")
        elif self._known is not None and self._unusable_ns is None:
            if self._known[1].state in (("playing", "waiting") if self._is_held else ("held",)):
                self._send(current.key, "", VoiceHold(on=self._is_held))  # that got lost, or one of us is new
            self._send_what_is_missing(current, *self._known)

    def _send_what_is_missing(self, current: Speech, key: Key, progress: VoiceProgress) -> None:
        """Go back to where the speaker is, when it has not come nearer to what was sent since the last time."""
        if current.is_stopping and key != current.key:
            self._end(current, "cut")  # the speaker has something else, or nothing
            return
        if current.is_stopping:
            self._stop(current, "user")
        arrived = Place(progress.next_clause, progress.next_sample) if key == current.key else current.heard
        if arrived < current.sent and arrived == self._seen_next:
            current.send_again(arrived)
        self._seen_next = arrived

    # -- quieter, or silent -------------------------------------------------------------------------------------------

    @property
    def said(self) -> Said | None:
        """The answer that is being heard; None when nothing is being said."""
        speech = self._current
        if speech is None or speech.sent == Place(0, 0) or speech.is_stopping:
            return None
        return Said(speech.key.turn, speech.stream, " ".join(clause.text for clause in speech.clauses))

    def duck(self, on: bool) -> None:
        """Go on more quietly, or as before."""
        if on != self._is_ducked:
            self._is_ducked = on
            key = self._current.key if self._current else Key("", 0)
            self._send(key, "", VoiceDuck(on=on))

    def hold(self, on: bool) -> None:
        """Be silent and keep what has not been heard, or go on. Meanwhile sound is made and sent as ever."""
        if on != self._is_held:
            self._is_held = on
            self._send(self._current.key if self._current else Key("", 0), "", VoiceHold(on=on))

    def interrupt(self) -> None:
        """What is being said ends now. The speaker then tells how much of it was heard, and that is remembered."""
        speech = self._current
        if speech is not None and not speech.is_stopping:
            speech.is_stopping = True
            if speech.sent == Place(0, 0):
                self._end(speech, "cut")
            else:
                self._stop(speech, "user")

    # -- in here ------------------------------------------------------------------------------------------------------

    def _wanting(self, make: Make) -> Speech | None:
        """For whom this clause is made; None when he is gone."""
        speech = self._made_for
        return speech if make is self._making and speech is not None and self._find(speech.key) is speech else None

    def _find(self, key: Key) -> Speech | None:
        speech = self._speeches.get(key.turn)
        return speech if speech is not None and speech.key == key else None

    def _speech(self, key: Key, stream: str) -> Speech | None:
        """The reply of that key, begun if it is new; None when it is void, or over."""
        newest = max((over.attempt for over in self._over if over.turn == key.turn), default=-1)
        present = self._speeches.get(key.turn)
        if key.attempt <= newest or (present is not None and key.attempt < present.key.attempt):
            return None
        if present is not None and present.key == key:
            return present
        if present is not None:
            if present.sent > Place(0, 0):
                self._stop(present, "newer")
            self._end(present, "cut", "there is a newer answer")
        speech = self._speeches[key.turn] = Speech(key, stream, self._language, self._clock_ns())
        if self._known is not None and self._known[0] == key:  # a predecessor of ours began it
            known = self._known[1]
            self._heard(speech, known)
            speech.send_again(Place(known.next_clause, known.next_sample))
        while len(self._speeches) > MAX_SPEECHES:
            oldest = next((each for each in self._speeches.values() if not each.is_owed and each is not speech), None)
            if oldest is None:
                break
            self._end(oldest, "unheard", "too many answers at once")
        return speech

    def _go_on(self) -> None:
        """Choose who speaks, have sound made, and send what there is."""
        while (speech := self._choose()) is not None:
            if self._making is None and (number := speech.to_make()) is not None:
                self._making, self._made_for = Make(speech.key, number, speech.clauses[number].text), speech
                self._actions.append(self._making)
            if self._known is not None:  # before that a predecessor's beginning is not known
                for sound, pcm in speech.to_send():
                    self._send(speech.key, speech.stream, sound, pcm)
            self._settle(speech)
            if self._current is speech:
                return

    def _choose(self) -> Speech | None:
        """Who has begun goes on as long as there is more of it; then comes who is owed, then who is there first."""
        current = self._current
        if current is None or not (current.has_more or current.heard < current.sent):
            waiting = [speech for speech in self._speeches.values() if speech.has_more and not speech.is_stopping]
            waiting.sort(key=lambda speech: not speech.is_owed)
            if waiting and waiting[0] is not current:
                self._current, self._seen_next = waiting[0], None
                waiting[0].moved_ns = self._clock_ns()
        return self._current

    def _settle(self, speech: Speech) -> None:
        """End a reply of which nothing more will come."""
        if speech.state == "cut":
            if speech.is_interrupted:
                self._end(speech, "cut")
            else:  # a predecessor of ours gave it up
                self._end(speech, "unheard", "the voice failed")
        elif speech.is_complete and (speech.state == "finished" or not speech.clauses):
            self._end(speech, "heard")
        elif speech.failure and speech.heard >= speech.sent:
            self._stop(speech, "trouble")
            self._end(speech, "unheard", speech.failure)

    def _end(self, speech: Speech, how: Literal["heard", "cut", "unheard"], reason: str = "") -> None:
        if self._find(speech.key) is not speech:
            return
        if how != "heard" and speech.heard.sample:
            self._tell(speech, speech.heard.clause, speech.heard.sample)
        text = speech.words_heard() if how == "cut" else ""
        ended = Ended(speech.key, how, text, reason, speech.first_ns, speech.last_ns)
        del self._speeches[speech.key.turn]
        if self._current is speech:
            self._current = None
        if how != "unheard" or speech.is_owed or speech.sent > Place(0, 0):  # else its job may find the speaker well again
            self._over[speech.key] = ended
            while len(self._over) > MAX_OVER:
                self._over.popitem(last=False)
        if speech.is_owed:
            self._actions.append(ended)

    def _tell(self, speech: Speech, clause: int, samples: int) -> None:
        body = VoicePlayed(attempt=speech.key.attempt, clause=clause, samples=samples, text=speech.words_heard())
        self._actions.append(Tell(speech.key, speech.stream, body))

    def _stop(self, speech: Speech, cause: StopCause) -> None:
        self._send(speech.key, speech.stream, VoiceStop(attempt=speech.key.attempt, cause=cause))

    def _send(self, key: Key, stream: str, body: VoiceSound | VoiceStop | VoiceDuck | VoiceHold, pcm: bytes | None = None) -> None:
        self._actions.append(Send(key, stream, body, pcm))
