"""The actor `speaker`: plays what it is sent, and tells how far it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import zmq

from actors.speaker.note import Note, NoteFile
from actors.speaker.paced import Paced, WavFile
from actors.speaker.playout import Output, Playout, Reply
from bus.codec import Stamp, decode
from bus.errors import SetupError, WireError
from bus.events import configure, received
from bus.limits import VOICE_HIGH_WATER_MARK
from bus.messages.base import Message
from bus.messages.voice import VoiceAsk, VoiceCut, VoiceDuck, VoiceFinished, VoiceHold, VoicePlaying, VoiceSound, VoiceStarted, VoiceStop

if TYPE_CHECKING:
    from actors.actor import Runtime
    from actors.timers import Timer
    from bus.clock import Clock
    from bus.settings import SpeakerSettings

PUMP_S: Final = 0.02
TELL_EACH: Final = 3
"""How far it is is told with every third look."""
TELL_PLAYING_NS: Final = 1_000_000_000
BREAK_NS: Final = 500_000_000
"""Without sound for so long the voice was silent."""
SUPERVISE_S: Final = 0.5
REOPEN_S: Final = 20.0
"""A sound server that hangs can take this long to say so."""


class Speaker:
    """One socket, one output."""

    def __init__(self, runtime: Runtime) -> None:
        """Raise SetupError for an output that cannot be used."""
        self._runtime = runtime
        settings = runtime.settings.speaker
        self._note = NoteFile(runtime.addresses.runtime_dir / "voice.note")
        self._file = WavFile(Path(settings.file).expanduser()) if settings.output == "file" else None
        with runtime.phases.during("opening", REOPEN_S):
            self._output = make_output(settings, runtime.clock, self._file)
        self._playout = Playout(self._output, volume=settings.volume, duck=settings.duck)
        self._go_on()
        self._told = (self._playout.state, self._playout.reply)
        self._told_first_ns = 0
        self._sounds_since_ns = self._heard_ns = self._told_playing_ns = 0
        self._trouble = ""
        self._timer: Timer | None = None
        self._looks = 0
        self._peer = b""
        self._stamp = Stamp(runtime.name, runtime.incarnation)
        self._socket = runtime.context.socket(zmq.ROUTER)
        configure(self._socket, VOICE_HIGH_WATER_MARK)
        self._socket.bind(runtime.addresses.voice)
        runtime.watch(self._socket, self._receive)
        if settings.output == "device":
            runtime.every(SUPERVISE_S, self._supervise)
        self._tell_trouble()

    def close(self) -> None:
        self._write_note(closing=True)
        self._note.close()
        self._output.close()
        self._socket.close()

    def _go_on(self) -> None:
        """A predecessor came so far."""
        note = self._note.predecessor
        if note is None:
            return
        if self._file is not None:
            try:
                self._file.cut_off(note.inode, note.file_bytes)
            except OSError as error:
                raise SetupError(f"speaker.file cannot be written: {error.strerror}") from None
        self._playout.resume(note.reply, note.place, note.state)

    def _receive(self) -> None:
        for peer, *frames in received(self._socket):
            try:
                self._handle(decode(frames))
            except WireError as error:
                self._runtime.malformed(error)
            else:
                self._peer = peer
        with self._runtime.phases.during("playing", REOPEN_S):
            self._output.wake()
        self._after(tell=True)

    def _handle(self, message: Message) -> None:
        now_ns = self._runtime.clock.monotonic_ns()
        reply = Reply(message.envelope.turn, 0, message.envelope.stream)
        match message.body:
            case VoiceSound() as sound:
                reply = reply._replace(attempt=sound.attempt)
                if self._playout.is_replaced_by(reply):
                    self._playout.stop(now_ns, "newer")
                    self._tell_state()
                with self._runtime.phases.during("playing", REOPEN_S):
                    self._playout.take(reply, sound, message.payload or b"", now_ns)
            case VoiceStop(attempt=attempt, cause=cause):
                if self._playout.reply is not None and self._playout.reply[:2] == (reply.turn, attempt):
                    self._playout.stop(now_ns, cause)
            case VoiceDuck(on=on):
                self._playout.duck(on, now_ns)
            case VoiceHold(on=on):
                with self._runtime.phases.during("playing", REOPEN_S):  # the output may have been let go meanwhile
                    self._playout.hold(on, now_ns)
            case VoiceAsk():
                pass  # it is answered as all else is
            case other:
                raise WireError(f"{other.topic}: not for the speaker")

    def _look(self) -> None:
        self._playout.pump(self._runtime.clock.monotonic_ns())
        self._looks += 1
        self._after(tell=self._looks % TELL_EACH == 0)

    def _supervise(self) -> None:
        with self._runtime.phases.during("playing", REOPEN_S):
            self._output.supervise()
        if self._output.trouble != self._trouble:
            self._after(tell=True)

    def _after(self, *, tell: bool) -> None:
        """Something may have changed: write it down, tell of it, and look again soon while something is being played."""
        self._write_note()
        self._tell_trouble()
        if self._tell_state() or tell:
            self._tell_progress()
        self._tell_playing()
        if self._playout.busy and self._timer is None:
            self._timer = self._runtime.every(PUMP_S, self._look)
        elif not self._playout.busy and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write_note(self, *, closing: bool = False) -> None:
        playout = self._playout
        if playout.reply is None:
            return
        inode = self._file.inode if self._file is not None and not closing else 0
        size_bytes = self._file.size_bytes if self._file is not None else 0
        self._note.write(Note(playout.reply, playout.place, playout.state, inode, size_bytes))

    def _tell_trouble(self) -> None:
        if self._output.trouble == self._trouble:
            return
        self._trouble = self._output.trouble
        if self._trouble:
            self._runtime.log.warning(self._trouble)
            self._runtime.trouble(self._trouble)
        else:
            self._runtime.status("it can be heard")

    def _tell_state(self) -> bool:
        """Events, once each; return whether there was something to tell."""
        playout, reply = self._playout, self._playout.reply
        if reply is None:
            return False
        before, self._told = self._told, (playout.state, reply)
        if before[1] != reply:
            self._told_first_ns = 0
        about = {"turn": reply.turn, "stream": reply.stream}
        is_first = bool(playout.first_ns) and not self._told_first_ns
        if is_first:
            self._told_first_ns = playout.first_ns
            self._sounds_since_ns = self._heard_ns = self._told_playing_ns = playout.first_ns
            self._runtime.publish(VoiceStarted(attempt=reply.attempt, at_ns=playout.first_ns), **about)
        if before == self._told:
            return is_first
        if playout.state == "finished":
            self._runtime.publish(VoiceFinished(attempt=reply.attempt, at_ns=playout.last_ns), **about)
        elif playout.state == "cut" and playout.cause:
            self._runtime.publish(VoiceCut(attempt=reply.attempt, cause=playout.cause, at_ns=playout.last_ns), **about)
        return True

    def _tell_playing(self) -> None:
        """Each second while it is heard, and at once when it goes on after a break."""
        playout = self._playout
        if playout.reply is None or playout.state not in ("playing", "waiting") or playout.last_ns <= self._heard_ns:
            return
        if playout.last_ns - self._heard_ns > BREAK_NS:
            self._sounds_since_ns = playout.last_ns
        self._heard_ns = playout.last_ns
        if self._heard_ns - self._told_playing_ns >= TELL_PLAYING_NS:
            self._told_playing_ns = self._heard_ns
            body = VoicePlaying(attempt=playout.reply.attempt, since_ns=self._sounds_since_ns, at_ns=self._heard_ns)
            self._runtime.publish(body, turn=playout.reply.turn, stream=playout.reply.stream)

    def _tell_progress(self) -> None:
        if not self._peer:
            return
        reply = self._playout.reply
        frames = self._stamp.pack(self._playout.progress(), turn=reply.turn if reply else "", stream=reply.stream if reply else "")
        try:
            self._socket.send_multipart([self._peer, *frames], zmq.NOBLOCK)
        except zmq.Again:  # it is stopped; it asks when it goes on
            self._runtime.unsent()


def make_output(settings: SpeakerSettings, clock: Clock, file: WavFile | None) -> Output:
    """The output of the settings. Raises SetupError."""
    if settings.output == "device":
        from actors.speaker.device import DeviceOutput

        return DeviceOutput(settings.device, clock)
    return Paced(clock.monotonic_ns, file, fast=settings.pace == "fast")
