"""What was lost or set aside, counted by cause. Pure: the clock is handed in, nothing is sent.

A loss is told in *episodes*, so that a flood of them is not followed by a flood of events: the first of a cause begins one,
and after some quiet seconds it is over. What one episode held is told twice, when it begins and when it is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from bus.messages.actor import LossTold

Cause = Literal[
    "events-missed",
    "messages-malformed",
    "messages-unsent",
    "frames-stale",
    "audio-device-ms",
    "audio-overrun-ms",
    "audio-restart-ms",
    "jobs-superseded",
    "jobs-requeued",
    "jobs-hedged",
    "jobs-parked",
    "jobs-refused-full",
    "jobs-refused-disk",
    "results-late",
    "parked-dropped",
    "strangers-refused",
]

MEANINGS: Final[Mapping[str, str]] = {
    "events-missed": "events that it was too slow for, or that passed while the broker was away",
    "messages-malformed": "messages that do not follow the protocol, dropped",
    "messages-unsent": "messages for which there was no room, sent again later",
    "frames-stale": "frames heard late: the segmenter was behind, nothing is missing",
    "audio-device-ms": "sound that the device did not deliver",
    "audio-overrun-ms": "sound that was overwritten before it was heard",
    "audio-restart-ms": "sound that fell while the source was being started again",
    "jobs-superseded": "jobs that a newer revision of the same turn replaced",
    "jobs-requeued": "attempts without a result; the job went to the next worker",
    "jobs-hedged": "jobs given to a second worker because the first was late",
    "jobs-parked": "jobs given up after all attempts; see `supervisor parked`",
    "jobs-refused-full": "submissions refused because too many jobs were open, made again later",
    "jobs-refused-disk": "submissions refused because the spool could not be written, made again later",
    "results-late": "results that came after another had been taken",
    "parked-dropped": "given-up jobs that were removed unanswered: by the user, or the oldest of too many",
    "strangers-refused": "connections from the network without an allowed key",
}
"""In words, for `supervisor status`. A cause that ends in `-ms` counts milliseconds of sound, each other one things."""

QUIET_S: Final = 3.0
"""An episode is over when nothing has been added to it for so long."""
CHECK_INTERVAL_S: Final = 1.0
"""How often `check` is to be called, while an episode lasts and at no other time."""

assert set(MEANINGS) == set(get_args(Cause)), "each cause has its words"


@dataclass(frozen=True, slots=True)
class Told:
    """An event to be published, and what it is about."""

    body: LossTold
    stream: str
    turn: str


@dataclass(slots=True)
class _Episode:
    stream: str
    turn: str
    number: int
    last_ns: int


class Losses:
    """Counts the losses of one process."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self.totals: Counter[str] = Counter()
        """By cause, since this process began."""
        self._clock_ns = clock_ns
        self._episodes: dict[Cause, _Episode] = {}

    @property
    def in_episode(self) -> bool:
        """Whether `check` has something to do."""
        return bool(self._episodes)

    def count(self, cause: Cause, number: int = 1, *, stream: str = "", turn: str = "") -> Told | None:
        """Add `number` to a cause. Return the event that tells of a new episode, if this begins one."""
        if number <= 0:
            return None
        self.totals[cause] += number
        episode = self._episodes.get(cause)
        if episode is not None:
            episode.number += number
            episode.last_ns = self._clock_ns()
            return None
        episode = self._episodes[cause] = _Episode(stream, turn, number, self._clock_ns())
        return self._told(cause, episode, over=False)

    def check(self) -> list[Told]:
        """End the episodes that have been quiet; return the events that tell of that."""
        quiet_since_ns = self._clock_ns() - round(QUIET_S * 1e9)
        over = [cause for cause, episode in self._episodes.items() if episode.last_ns <= quiet_since_ns]
        return [self._told(cause, self._episodes.pop(cause), over=True) for cause in over]

    def end(self) -> list[Told]:
        """End all episodes now; return the events that tell of that."""
        return [self._told(cause, self._episodes.pop(cause), over=True) for cause in list(self._episodes)]

    def to_text(self) -> str:
        """The totals as one word of the sd_notify talk."""
        return ",".join(f"{cause}={number}" for cause, number in sorted(self.totals.items()))

    def _told(self, cause: Cause, episode: _Episode, *, over: bool) -> Told:
        body = LossTold(cause=cause, number=episode.number, total=self.totals[cause], over=over)
        return Told(body, episode.stream, episode.turn)


def from_text(text: str) -> dict[str, int]:
    """Read what `to_text` wrote; what cannot be read is passed over."""
    pairs = (part.partition("=") for part in text.split(","))
    return {cause: int(number) for cause, _, number in pairs if cause and number.isascii() and number.isdigit()}
