"""The actor `recorder`: keeps the last minutes on disk, and records on purpose when it is asked to.

It only listens. Whatever happens to it or to its disk, nobody waits for it.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from actors.recorder.files import Flight, create
from actors.recorder.listening import Listening
from bus.messages.actor import HOUSEKEEPING
from bus.messages.audio import AudioOpened
from bus.messages.base import Message
from bus.messages.record import ABSENT_S, MAX_FILES, RecordStart, RecordState, RecordStop
from bus.recording import About, RecordingWriter, Sound
from bus.settings import dump_resolved

if TYPE_CHECKING:
    from actors.actor import Runtime

FLUSH_S: Final = 1.0
TRY_AGAIN_S: Final = 5.0
"""After the disk would not take any more."""


class Recorder:
    """Writes down what passes."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        settings = runtime.settings.recorder
        self._keep = settings.flight
        self._flight: Flight | None = None
        self._session: _Session | None = None
        self._in_trouble = False
        self._listening: Listening | None = None
        self._session_file = runtime.addresses.flight_dir / "session.json"
        runtime.subscribe("", self._on_event)
        runtime.every(FLUSH_S, self._flush)
        if self._keep != "off":
            self._guard(self._open_flight)
        self._show()
        self._resume()
        self._listen()

    def close(self) -> None:
        if self._listening is not None:
            self._listening.close()
        if self._session is not None:
            self._stop_session()
        if self._flight is not None:
            self._guard(self._flight.close)

    # -- what comes in ----------------------------------------------------------------------------------------------

    def _on_event(self, message: Message) -> None:
        if message.topic in HOUSEKEEPING:
            return
        match message.body:
            case RecordStart() as start:
                self._start_session(start)
            case RecordStop():
                self._stop_session()
            case AudioOpened():
                if self._listening is not None:
                    self._listening.look()
        if self._flight is not None:
            self._guard(lambda flight=self._flight: flight.event(message))  # type: ignore[misc]
        if self._session is not None:
            self._session_guard(lambda session=self._session: session.writer.event(message))  # type: ignore[misc]

    def _on_sound(self, sound: Sound) -> None:
        if self._flight is not None and self._keep == "all":
            self._guard(lambda flight=self._flight: flight.sound(sound))  # type: ignore[misc]
        if self._session is not None and self._session.start.sound:
            self._session_guard(lambda session=self._session: session.writer.sound(sound))  # type: ignore[misc]

    def _flush(self) -> None:
        if self._listening is not None:
            self._listening.look()
            self._listening.flush()
        if self._flight is not None:
            self._guard(lambda flight=self._flight: self._flush_flight(flight))  # type: ignore[misc]
        if self._session is not None:
            self._session_guard(self._session.writer.flush)
        if self._session is not None and self._session.is_left_alone(self._runtime.clock.monotonic_ns()):
            self._runtime.log.warning("the recording is ended: the command that began it is gone", path=str(self._session.path))
            self._stop_session()

    def _listen(self) -> None:
        """Hear the streams while somebody wants their sound, and no longer."""
        wanted = self._keep == "all" or (self._session is not None and self._session.start.sound)
        if wanted and self._listening is None:
            self._listening = Listening(self._runtime, self._on_sound)
            self._listening.look()
        elif not wanted and self._listening is not None:
            self._listening.close()
            self._listening = None

    # -- the flight recorder ----------------------------------------------------------------------------------------

    def _open_flight(self) -> None:
        settings = self._runtime.settings.recorder
        self._flight = Flight(
            self._runtime.addresses.flight_dir,
            self._about(with_words=self._keep != "no-words"),
            self._runtime.clock,
            keep_s=settings.keep_s,
            max_bytes=settings.max_mb << 20,
        )

    def _flush_flight(self, flight: Flight) -> None:
        if flight.flush() and self._in_trouble:  # to open one proves nothing: it takes the first event
            self._in_trouble = False
            self._show()

    def _guard(self, write: Callable[[], None]) -> None:
        """A disk that takes no more ends the flight file; it is tried again. What passes meanwhile is not kept."""
        try:
            write()
        except OSError as error:
            flight, self._flight = self._flight, None
            if flight is not None:
                flight.abandon()
            if not self._in_trouble:
                self._in_trouble = True
                line = f"the last minutes cannot be kept in {self._runtime.addresses.flight_dir}: {error.strerror}; make room"
                self._runtime.trouble(line)
                self._runtime.log.warning(line)
            self._runtime.after(TRY_AGAIN_S, lambda: self._guard(self._open_flight))

    def _show(self) -> None:
        """Tell the user what we are doing, if there is no trouble to tell of."""
        if self._in_trouble:
            return
        if self._session is not None:
            since = time.strftime("%H:%M:%S", time.localtime(self._session.kept.since_ns // 10**9))
            self._runtime.status(f"recording to {self._session.path} since {since}")
        else:
            self._runtime.status("nothing is being recorded" if self._keep == "off" else "keeping the last minutes")

    # -- a recording on purpose -------------------------------------------------------------------------------------

    def _start_session(self, start: RecordStart) -> None:
        if self._session is not None:
            if self._session.start == start:
                self._session.asked_ns = self._runtime.clock.monotonic_ns()
                self._tell("recording")  # asked again: our answer was not heard, or to say that somebody is there
            else:
                detail = f"{self._session.start.path} is being recorded already; `supervisor record stop` ends it"
                self._runtime.publish(RecordState(state="busy", path=start.path, detail=detail))
            return
        try:
            self._begin(_Kept(self._launch, start, self._runtime.clock.wall_ns(), (start.path,)))
        except OSError as error:
            why = "it is there already; take another name" if isinstance(error, FileExistsError) else str(error.strerror)
            self._runtime.publish(RecordState(state="failed", path=start.path, detail=f"cannot record to {start.path}: {why}"))
            return
        self._listen()
        self._show()
        self._tell("recording")

    def _begin(self, kept: _Kept) -> None:
        """Begin the last of these files. Raise OSError; nothing is left then that was not there."""
        path = Path(kept.files[-1])
        writer = create(path, self._about(with_words=kept.start.text), self._runtime.clock)
        try:
            self._session_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._session_file.write_bytes(msgspec.json.encode(kept))
        except OSError:
            writer.abandon()
            path.unlink(missing_ok=True)
            with suppress(OSError):
                self._session_file.unlink(missing_ok=True)
            raise
        self._session = _Session(kept, writer, self._runtime.clock.monotonic_ns())

    def _stop_session(self) -> None:
        session = self._session
        if session is None:
            self._runtime.publish(RecordState(state="off"))
            return
        if self._listening is not None:
            self._listening.flush()
        try:
            session.writer.close()
        except OSError as error:
            self._fail_session(error)
            return
        self._tell("done")
        self._forget_session()

    def _session_guard(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            self._fail_session(error)

    def _fail_session(self, error: OSError) -> None:
        session = self._session
        assert session is not None, "only a session fails"
        line = f"the recording {session.path} ended early: {error.strerror}; it can be read up to there"
        self._runtime.log.error(line)
        self._tell("failed", line)
        session.writer.abandon()
        self._forget_session()

    def _forget_session(self) -> None:
        self._session = None
        self._session_file.unlink(missing_ok=True)
        self._listen()
        self._show()

    def _tell(self, state: str, detail: str = "") -> None:
        session = self._session
        assert session is not None, "there is a session to tell of"
        first, *more = session.kept.files
        self._runtime.publish(
            RecordState(
                state=state,
                path=first,
                more=more,
                missing_ms=session.kept.missing_ms,
                detail=detail,
                messages=session.writer.messages,
                size_bytes=sum(path.stat().st_size for path in map(Path, session.kept.files) if path.exists()),
            )
        )

    # -- over our own death -------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        """A recorder that died in a recording goes on with it, in another file: what there is can be read up to its end."""
        try:
            kept = msgspec.json.decode(self._session_file.read_bytes(), type=_Kept)
        except (OSError, msgspec.MsgspecError):
            return
        if kept.launch != self._launch:  # it ended with the assistant
            self._session_file.unlink(missing_ok=True)
            return
        missing_ms = kept.missing_ms + self._missing_ms(Path(kept.files[-1]))
        first = Path(kept.start.path)
        for number in range(2, MAX_FILES):
            path = first.with_name(f"{first.stem}-{number}{first.suffix}")
            try:
                self._begin(msgspec.structs.replace(kept, files=(*kept.files, str(path)), missing_ms=missing_ms))
            except FileExistsError:
                continue
            except OSError as error:
                self._runtime.trouble(f"cannot go on with the recording in {path}: {error.strerror}")
                return
            self._runtime.log.warning("the recording goes on in another file", path=str(path))
            self._show()
            return

    def _missing_ms(self, last: Path) -> int:
        """How long ago the file was written to; 0 when the user has taken it away, or the clock was set back."""
        try:
            return max(0, self._runtime.clock.wall_ns() - last.stat().st_mtime_ns) // 1_000_000
        except OSError:
            return 0

    @property
    def _launch(self) -> str:
        return self._runtime.incarnation.partition(".")[0]

    def _about(self, *, with_words: bool) -> About:
        return About(
            program_version=importlib.metadata.version("earshot"),
            settings=dump_resolved(self._runtime.settings).decode(),
            with_words=with_words,
        )


class _Kept(msgspec.Struct, frozen=True):
    """What of a recording outlives the recorder."""

    launch: str
    """The launch of the assistant with which it ends."""
    start: RecordStart
    since_ns: int
    """Wall time."""
    files: tuple[str, ...]
    missing_ms: int = 0


class _Session:
    """A recording that the user asked for."""

    def __init__(self, kept: _Kept, writer: RecordingWriter, now_ns: int) -> None:
        self.kept = kept
        self.start = kept.start
        self.path = Path(kept.files[-1])
        self.writer = writer
        self.asked_ns = now_ns
        """When `record.start` came last, CLOCK_MONOTONIC."""

    def is_left_alone(self, now_ns: int) -> bool:
        """Whether the one who waits for its end has not been heard for too long."""
        return self.start.attended and now_ns - self.asked_ns > ABSENT_S * 1e9
