"""One reply on its way from words to sound: its clauses, their sound, how much was sent and how much was heard. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from actors.tts.clauses import Clauses
from actors.tts.speakable import Speakable
from bus.limits import MAX_VOICE_BYTES, SAMPLE_BYTES
from bus.messages.voice import Place, VoiceSound, VoiceState

SEND_LEAD_S: Final = 10.0
"""Sound that is sent beyond what has been heard: so long it goes on although we die."""
MAKE_LEAD_S: Final = 20.0
"""Sound that is made beyond that."""
UNKNOWN_RATE_HZ: Final = 16_000
"""Of a reply without any sound."""


class Key(NamedTuple):
    """Which reply."""

    turn: str
    attempt: int


@dataclass
class Clause:
    """What is spoken in one go."""

    text: str
    pcm: bytearray = field(default_factory=bytearray)
    samples: int = 0
    """So far; they stay known when the sound is not needed any more."""
    is_whole: bool = False
    """All of its sound is there."""


class Speech:
    """One reply. Its words come in pieces, or whole, or both."""

    def __init__(self, key: Key, stream: str, language: str, now_ns: int) -> None:
        self.key, self.stream = key, stream
        self.is_owed = False
        """There is a job for it: it is to be said, and how it ended is to be told."""
        self.is_complete = False
        """All its words are there."""
        self.is_stopping = False
        """It was told to be silent; how much was heard is not known yet."""
        self.failure = ""
        """Why no more of it can be made into sound."""
        self.clauses: list[Clause] = []
        self.heard = Place(0, 0)
        self.sent = Place(0, 0)
        self.state: VoiceState = "idle"
        self.is_interrupted = False
        """Of one that was cut: a user did it, as far as is known."""
        self.first_ns = self.last_ns = 0
        self.moved_ns = now_ns
        """When something last came of it."""
        self.rate_hz = 0
        self._reader, self._cutter = Speakable(), Clauses(language)
        self._read_chars = 0
        self._next_piece = 0

    # -- words --------------------------------------------------------------------------------------------------------

    def piece(self, index: int, text: str) -> None:
        """A piece of the reply. After one that is missing all wait for the whole."""
        if index == self._next_piece and not self.is_complete:
            self._next_piece += 1
            self._read(text)

    def whole(self, text: str) -> None:
        """All of the reply. What was read of it already is its beginning."""
        if not self.is_complete:
            self._read(text[self._read_chars :])
            self.is_complete = True
            self._add(self._cutter.feed(self._reader.finish()) + self._cutter.finish())

    def _read(self, text: str) -> None:
        self._read_chars += len(text)
        self._add(self._cutter.feed(self._reader.feed(text)))

    def _add(self, texts: list[str]) -> None:
        self.clauses += (Clause(text) for text in texts)

    # -- sound --------------------------------------------------------------------------------------------------------

    def to_make(self) -> int | None:
        """The next clause whose sound is to be made; None: none, or there is enough."""
        if self.failure or self.is_stopping:
            return None
        for number in range(self.heard.clause, len(self.clauses)):
            if not self.clauses[number].is_whole:
                return number if self._ahead(Place(number, 0)) < MAKE_LEAD_S * (self.rate_hz or 1) else None
        return None

    def made(self, clause: int, rate_hz: int, pcm: bytes) -> None:
        """More sound of a clause."""
        self.rate_hz = rate_hz
        self.clauses[clause].pcm += pcm
        self.clauses[clause].samples += len(pcm) // SAMPLE_BYTES

    def to_send(self) -> Iterator[tuple[VoiceSound, bytes]]:
        """What may be sent now; it counts as sent."""
        while not self.is_stopping and self.sent.clause < len(self.clauses):
            number, first = self.sent
            clause = self.clauses[number]
            samples = min(max(0, clause.samples - first), MAX_VOICE_BYTES // SAMPLE_BYTES)
            ends = clause.is_whole and first + samples >= clause.samples
            if (not samples and not ends) or self._ahead(self.sent) > SEND_LEAD_S * (self.rate_hz or 1):
                return
            pcm = bytes(memoryview(clause.pcm)[first * SAMPLE_BYTES : (first + samples) * SAMPLE_BYTES])
            self.sent = Place(number + 1, 0) if ends else Place(number, first + samples)
            yield self._sound(number, first, ends=ends), pcm
        if self.is_complete and not self.is_stopping and self.sent.clause == len(self.clauses):
            self.sent = Place(len(self.clauses) + 1, 0)
            yield self._sound(len(self.clauses), 0, ends=True, last=True), b""

    def send_again(self, place: Place) -> None:
        """What was sent from there on did not arrive, or is gone."""
        self.sent = max(place, self.heard)

    def _sound(self, clause: int, first: int, *, ends: bool, last: bool = False) -> VoiceSound:
        rate_hz = self.rate_hz or UNKNOWN_RATE_HZ
        return VoiceSound(
            attempt=self.key.attempt,
            clause=clause,
            first_sample=first,
            rate_hz=rate_hz,
            ends=ends,
            last=last,
            from_clause=self.heard.clause,
            from_sample=self.heard.sample,
        )

    def _ahead(self, place: Place) -> int:
        """Samples between what was heard and there."""
        between = sum(clause.samples for clause in self.clauses[self.heard.clause : place.clause])
        return between + place.sample - self.heard.sample

    # -- what was heard -----------------------------------------------------------------------------------------------

    def hear(self, place: Place) -> list[int]:
        """It was heard up to there. Return the clauses that have been heard since."""
        before, self.heard = self.heard, max(self.heard, place)
        ended = range(before.clause, min(self.heard.clause, len(self.clauses)))
        for number in ended:
            self.clauses[number].pcm = bytearray()
        self.sent = max(self.sent, self.heard)
        return list(ended)

    @property
    def has_more(self) -> bool:
        """Whether some of its words have not been heard, or its end has not been told."""
        return not self.failure and (self.heard.clause < len(self.clauses) or self.is_complete)

    def words_heard(self) -> str:
        """Its words as they were spoken, as far as they were heard. Of a clause that was cut, its share of words, rounded down."""
        words = [clause.text for clause in self.clauses[: self.heard.clause]]
        if self.heard.sample and self.heard.clause < len(self.clauses):
            cut = self.clauses[self.heard.clause]
            spoken = cut.text.split()
            words.append(" ".join(spoken[: len(spoken) * min(self.heard.sample, cut.samples) // max(cut.samples, 1)]))
        return " ".join(filter(None, words))
