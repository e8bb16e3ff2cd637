"""What is played when, and how much of it has been heard. Pure: the output and the time are handed in.

One reply at a time is played, clause by clause, as it arrives. Whoever sends it may die and begin again anywhere: what is here already is
passed over, and what does not follow on that is not taken. The output is kept only so full as is needed, and what is in it can be taken
back: so it is silent soon after it is told to be, and quieter soon too.

A voice that is held is silent and keeps everything. It goes on a little before the place at which it fell silent, where it was quiet
between two words: the last words were said into somebody's cough, and a voice that begins within a word is hard to understand. What is
played for the second time counts as heard already, and nothing is played a third time, so whoever coughs on and on does not hear the
same words for ever.
"""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from bus.limits import SAMPLE_BYTES
from bus.messages.voice import Place, StopCause, VoiceProgress, VoiceSound, VoiceState

LEAD_S: Final = 0.25
"""Sound handed to the output beyond what has been heard: for so long the main loop may be away."""
FADE_S: Final = 0.008
"""How long it takes to fall silent, or to change the volume: at once would be a click."""
AGAIN_S: Final = (1.2, 0.3)
"""How much earlier a voice that was held goes on, at the most and at the least."""
QUIET_S: Final = 0.02
"""So much of it is to be quiet there."""
MAX_WAITING_S: Final = 60.0
"""Sound that is kept beyond what has been heard."""


class Output(Protocol):
    """Something that takes time to play. It counts samples of the sound that it was told to begin last."""

    @property
    def trouble(self) -> str:
        """Why nothing can be heard just now, for the user; empty when all is well."""

    @property
    def delay_ns(self) -> int:
        """How much later than `heard` counts it, a sample is heard; 0 where that is in the count."""

    def begin(self, rate_hz: int) -> None:
        """A new sound: count from 0. What was handed over before is still played."""

    def queue(self, pcm: bytes, *, last: bool) -> None:
        """Play this next, mono int16. `last`: nothing follows on it."""

    @property
    def queued(self) -> int:
        """How many samples were handed over. Fewer than before where it had to let go of some: those are to be handed over again."""

    def heard(self) -> int:
        """How many samples have been heard."""

    def take_back(self) -> int:
        """Forget what can still be taken back. Return how many samples will have been heard after all."""

    def wake(self) -> None:
        """Something is about to be played."""

    def supervise(self) -> None:
        """Called now and then: see to it that all is well."""

    def close(self) -> None:
        """Give everything back."""


class Reply(NamedTuple):
    """Which one."""

    turn: str
    attempt: int
    stream: str = ""


@dataclass
class _Stretch:
    """Samples of one clause that follow on each other."""

    begin: int
    """Counted from the first sample of the reply that was taken."""
    first: Place
    samples: int
    ends: bool = False
    """The clause has no more."""

    def place(self, heard: int) -> Place:
        """Where one is after `heard` samples of the reply."""
        within = min(max(heard - self.begin, 0), self.samples)
        return (
            Place(self.first.clause + 1, 0)
            if self.ends and within == self.samples
            else Place(self.first.clause, self.first.sample + within)
        )


class Playout:
    """Plays one reply after the other. Call `pump` every few milliseconds while `busy`."""

    def __init__(self, output: Output, *, volume: float, duck: float) -> None:
        """`volume` and `duck`: the usual share of the full volume, and the share of that while ducked."""
        self._output = output
        self._volume, self._duck = volume, duck
        self._gain = self._target = volume
        self._is_held = False
        self.reply: Reply | None = None
        self.state: VoiceState = "idle"
        self.cause: StopCause | Literal[""] = ""
        """Of a reply that was cut."""
        self.rate_hz = 0
        self.first_ns = self.last_ns = 0
        self._forget(Place(0, 0))

    def _forget(self, place: Place) -> None:
        self._pcm = bytearray()  # not heard yet, or not for long
        self._base = 0  # samples before those
        self._arrived = self._handed = self._heard = 0
        self._at = 0  # what is being heard; not `_heard` where something is played again
        self._again = 0  # so many samples of what the output has played were played again
        self._new = 0  # what comes before was played again
        self._silent = 0  # the end of a fade
        self._stretches: deque[_Stretch] = deque()
        self._from = self._next = place
        self._is_whole = self._is_fading = False

    @property
    def busy(self) -> bool:
        """Whether something is being played, if only the fade at its end."""
        return self.state == "playing" or self._is_fading

    @property
    def place(self) -> Place:
        """Everything before it has been heard."""
        return self._stretches[0].place(self._heard) if self._stretches else self._from

    def progress(self) -> VoiceProgress:
        """How far it is."""
        place = self.place
        return VoiceProgress(
            state=self.state,
            attempt=self.reply.attempt if self.reply else 0,
            clause=place.clause,
            sample=place.sample,
            next_clause=self._next.clause,
            next_sample=self._next.sample,
            first_sound_ns=self.first_ns,
            last_sound_ns=self.last_ns,
            trouble=self._output.trouble,
            cause=self.cause,
        )

    def resume(self, reply: Reply, place: Place, state: VoiceState) -> None:
        """A predecessor came so far."""
        self.reply, self.state, self._is_held = reply, "waiting" if state == "playing" else state, state == "held"
        self._forget(place)

    def is_replaced_by(self, reply: Reply) -> bool:
        """Whether sound of this reply ends the one that is being played."""
        now = self.reply
        return now is not None and reply[:2] != now[:2] and not (reply.turn == now.turn and reply.attempt < now.attempt)

    def take(self, reply: Reply, sound: VoiceSound, pcm: bytes, now_ns: int) -> bool:
        """Sound has arrived. Return whether it was taken: not what is here already, is void, or does not follow on the rest."""
        if self.reply is None or self.is_replaced_by(reply):
            self.stop(now_ns, "newer")
            self._begin(reply, sound)
        elif reply[:2] != self.reply[:2]:
            return False
        if self.state in ("cut", "finished") or sound.clause != self._next.clause or (self.rate_hz and sound.rate_hz != self.rate_hz):
            return False
        skip = self._next.sample - sound.first_sample
        samples = len(pcm) // SAMPLE_BYTES - skip
        if skip < 0 or samples < 0 or self._arrived - self._heard + samples > MAX_WAITING_S * sound.rate_hz:
            return False
        if not self.rate_hz:
            self.rate_hz = sound.rate_hz
            self._output.begin(sound.rate_hz)
        self._stretches.append(_Stretch(self._arrived, self._next, samples, sound.ends))
        self._pcm += memoryview(pcm)[skip * SAMPLE_BYTES : (skip + samples) * SAMPLE_BYTES]
        self._arrived += samples
        self._next = Place(sound.clause + 1, 0) if sound.ends else Place(sound.clause, self._next.sample + samples)
        self._is_whole = sound.last
        self.pump(now_ns)
        return True

    def _begin(self, reply: Reply, sound: VoiceSound) -> None:
        self.reply, self.state, self.rate_hz = reply, "waiting", 0
        self.cause, self.first_ns, self.last_ns = "", 0, 0
        self._gain = self._target
        self._forget(Place(sound.from_clause, sound.from_sample))

    def pump(self, now_ns: int) -> None:
        """Note what has been heard, and hand on what is due."""
        if self._is_fading:
            self._is_fading = self._output.heard() - self._again < self._silent
        if self.state in ("cut", "finished", "idle"):
            return
        if self._is_held:
            self.state = "held"
        if self._is_held or not self.rate_hz:
            return
        self._note(now_ns)
        self._handed = max(self._at, min(self._handed, self._output.queued - self._again))
        while (due := min(self._arrived, self._at + round(LEAD_S * self.rate_hz)) - self._handed) > 0:
            before = self._handed
            self._hand_over(due)
            self._note(now_ns)
            if self._handed == before:
                return
        if self._is_whole and self._at == self._arrived:
            self.state = "finished"
        else:
            self.state = "playing" if self._handed > self._at else "waiting"

    def _hand_over(self, samples: int) -> None:
        begin = (self._handed - self._base) * SAMPLE_BYTES
        pcm = self._louder(bytes(self._pcm[begin : begin + samples * SAMPLE_BYTES]))
        self._handed += samples
        self._output.queue(pcm, last=self._is_whole and self._handed == self._arrived)

    def _note(self, now_ns: int) -> None:
        at = min(self._output.heard() - self._again, self._handed)
        if at <= self._at:
            return
        if not self.first_ns:
            self.first_ns = now_ns + self._output.delay_ns - round((at - self._at) * 1e9 / self.rate_hz)
        self.last_ns = now_ns + self._output.delay_ns
        self._hear(at)

    def _hear(self, at: int) -> None:
        """What comes before has been heard, or will be after all."""
        self._at, self._heard = at, max(self._heard, at)
        if (kept := self._heard - round(AGAIN_S[0] * self.rate_hz)) > self._base:
            del self._pcm[: (kept - self._base) * SAMPLE_BYTES]
            self._base = kept
        while len(self._stretches) > 1 and self._stretches[1].begin <= self._heard:
            self._stretches.popleft()

    # -- quieter, or silent -------------------------------------------------------------------------------------------

    def stop(self, now_ns: int, cause: StopCause) -> None:
        """Fall silent. Where that is, is known at once: `place` and `last_ns` are those of the last sample that will be heard."""
        if self.state not in ("playing", "waiting", "held"):
            return
        if self.rate_hz and self.state != "held":
            self._fall_silent(now_ns)
            self._hear(max(self._at, self._silent))
        self._pcm.clear()
        self.state, self.cause = "cut", cause

    def hold(self, on: bool, now_ns: int) -> None:
        """Fall silent and keep the rest, or go on."""
        if on == self._is_held:
            return
        if on:
            self.pump(now_ns)
            if self.state in ("playing", "waiting") and self.rate_hz:
                self._hear(max(self._at, self._fall_silent(now_ns)))  # what is faded is yet to be heard as it is
            self._is_held = True
        else:
            self._is_held = False
            if self.state == "held" and self.rate_hz:
                self._go_back()
            elif self.state == "held":
                self.state = "waiting"
        self.pump(now_ns)

    def _fall_silent(self, now_ns: int) -> int:
        """Return where it begins to."""
        self._note(now_ns)
        kept = min(max(self._played(), self._base), self._handed)
        fade = round(FADE_S * self.rate_hz) if kept and not self._output.trouble else 0  # of what is silent already nothing more is heard
        end = min(kept + fade, self._arrived)
        begin = (kept - self._base) * SAMPLE_BYTES
        fading = bytes(self._pcm[begin : begin + (end - kept) * SAMPLE_BYTES])
        self._output.queue(ramped(fading, self._gain, 0.0), last=True)
        if end > self._at:
            self.last_ns = now_ns + self._output.delay_ns + round((end - self._at) * 1e9 / self.rate_hz)
            self.first_ns = self.first_ns or now_ns + self._output.delay_ns
        self._silent, self._is_fading = end, True
        return kept

    def _played(self) -> int:
        """Take back what the output has not played yet. Return up to where it will be heard after all."""
        return self._output.take_back() - self._again

    def _go_back(self) -> None:
        """To where it was quiet."""
        place = self._quiet_place()
        self._again += self._played() - place
        self._new, self._handed, self._at = self._heard, place, place
        self._is_fading, self._gain = False, 0.0

    def _quiet_place(self) -> int:
        """Where a voice that was held goes on: the quietest moment that is near enough, and was not played again before."""
        furthest, nearest = (self._heard - round(seconds * self.rate_hz) for seconds in AGAIN_S)
        first, step = max(furthest, self._base, self._new), round(QUIET_S * self.rate_hz)
        places = range(first, nearest - step + 1, step)
        if not places:
            return self._at if self._new else first
        samples = array("h", bytes(self._pcm[: (nearest - self._base) * SAMPLE_BYTES]))
        return min(places, key=lambda place: sum(map(abs, samples[place - self._base : place - self._base + step]))) + step // 2

    def duck(self, on: bool, now_ns: int) -> None:
        """Go on more quietly, or as before."""
        target = self._volume * (self._duck if on else 1.0)
        if target == self._target:
            return
        self._target = target
        if self.state == "playing":
            self._note(now_ns)
            self._handed = min(max(self._played(), self._at), self._handed)
            self.pump(now_ns)
        elif self.state != "held":
            self._gain = target

    def _louder(self, pcm: bytes) -> bytes:
        """With the volume that it is to have; a change is a slope at the beginning."""
        if self._gain == self._target:
            return pcm if self._gain == 1.0 else ramped(pcm, self._gain, self._gain)
        slope = round(FADE_S * self.rate_hz) * SAMPLE_BYTES
        head = ramped(pcm[:slope], self._gain, self._target)
        self._gain = self._target
        return head + self._louder(pcm[slope:])


def ramped(pcm: bytes, begin: float, end: float) -> bytes:
    """Mono int16 PCM whose volume goes evenly from one share to the other."""
    samples = array("h", pcm)
    if samples:
        step = (end - begin) / len(samples)
        samples = array("h", (int(value * (begin + step * number)) for number, value in enumerate(samples, 1)))
    return samples.tobytes()
