"""The actor `recorder`: keeps the last minutes on disk, and records on purpose when it is asked to.

It only listens. Whatever happens to it or to its disk, nobody waits for it.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from actors.recorder.files import Flight, create
from actors.recorder.listening import Listening
from bus.messages.actor import BrokerBeat, Probe
from bus.messages.audio import AudioOpened
from bus.messages.base import Message
from bus.messages.record import RecordStart, RecordState, RecordStop
from bus.recording import About, RecordingWriter, Sound
from bus.settings import dump_resolved

if TYPE_CHECKING:
    from actors.actor import Runtime

FLUSH_S: Final = 1.0
TRY_AGAIN_S: Final = 5.0
"""After the disk would not take any more."""
HOUSEKEEPING: Final = (Probe.topic, BrokerBeat.topic)
"""The bus looking at itself, of no use to a reader."""


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
            self._guard(self._flight.flush)
        if self._session is not None:
            self._session_guard(self._session.writer.flush)

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
        self._well()

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

    def _well(self) -> None:
        self._in_trouble = False
        self._runtime.status("keeping the last minutes")

    # -- a recording on purpose -------------------------------------------------------------------------------------

    def _start_session(self, start: RecordStart) -> None:
        if self._session is not None:
            if self._session.start == start:
                self._tell("recording")  # asked again, because our answer was not heard
            else:
                detail = f"{self._session.start.path} is being recorded already; `supervisor record stop` ends it"
                self._runtime.publish(RecordState(state="failed", path=start.path, detail=detail))
            return
        try:
            self._session = _Session(start, Path(start.path), self._create(Path(start.path), start))
            self._write_session_file(start)
        except OSError as error:
            self._session = None
            why = "it is there already; take another name" if isinstance(error, FileExistsError) else str(error.strerror)
            self._runtime.publish(RecordState(state="failed", path=start.path, detail=f"cannot record to {start.path}: {why}"))
            return
        self._listen()
        self._tell("recording")

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
        self._tell("done", size_bytes=session.path.stat().st_size)
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

    def _tell(self, state: str, detail: str = "", size_bytes: int = 0) -> None:
        session = self._session
        assert session is not None, "there is a session to tell of"
        self._runtime.publish(
            RecordState(
                state=state,
                path=str(session.path),
                detail=detail,
                messages=session.writer.messages,
                size_bytes=size_bytes or session.writer.size_bytes,
            )
        )

    # -- over our own death -------------------------------------------------------------------------------------------

    def _write_session_file(self, start: RecordStart) -> None:
        self._session_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._session_file.write_text(json.dumps({"launch": self._launch, "path": start.path, "sound": start.sound, "text": start.text}))

    def _resume(self) -> None:
        """A recorder that died in a recording goes on with it, in a second file: the first is readable up to its end."""
        try:
            found = json.loads(self._session_file.read_text())
            start = RecordStart(path=found["path"], sound=found["sound"], text=found["text"])
            launch = found["launch"]
        except (OSError, ValueError, KeyError):
            return
        if launch != self._launch:  # it ended with the assistant
            self._session_file.unlink(missing_ok=True)
            return
        first = Path(start.path)
        for number in range(2, 1000):
            path = first.with_name(f"{first.stem}-{number}{first.suffix}")
            try:
                self._session = _Session(start, path, self._create(path, start))
            except FileExistsError:
                continue
            except OSError as error:
                self._runtime.trouble(f"cannot go on with the recording in {path}: {error.strerror}")
                return
            self._runtime.log.warning("the recording goes on in another file", path=str(path))
            return

    @property
    def _launch(self) -> str:
        return self._runtime.incarnation.partition(".")[0]

    def _create(self, path: Path, start: RecordStart) -> RecordingWriter:
        return create(path, self._about(with_words=start.text), self._runtime.clock)

    def _about(self, *, with_words: bool) -> About:
        return About(
            program_version=importlib.metadata.version("earshot"),
            settings=dump_resolved(self._runtime.settings).decode(),
            with_words=with_words,
        )


class _Session:
    """A recording that the user asked for."""

    def __init__(self, start: RecordStart, path: Path, writer: RecordingWriter) -> None:
        self.start = start
        self.path = path
        self.writer = writer
