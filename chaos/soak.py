"""`python -m chaos.soak [--turns N]`: thousands of turns at full pace, and what every process holds after each thousand."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import zmq
from rich import box
from rich.console import Console
from rich.table import Table

from bench.instance import BenchError, wait_for
from bench.system import machine
from bus.addresses import Addresses
from bus.codec import Stamp
from bus.errors import EarshotError
from bus.jobs import JobClient, query_jobs
from bus.limits import FRAME_SAMPLES
from bus.messages.jobs import Heard, Job
from chaos import sounds
from chaos.faults import LAUNCHER
from chaos.growth import Holding, Mark, growth_percent, leaks, look, median
from chaos.speakers import Speakers
from chaos.world import World, world
from supervisor.drain import is_open
from supervisor.remembered import remembered

SETTINGS = (
    "vad.preset=command",
    "whisper.workers=2",
    "rehearsal_llm.first_token_delay_ms=0",
    "rehearsal_llm.token_delay_ms=0",
)
FILE_TURNS = 50
MARK_TURNS = 1000
PATIENCE_S = 300.0
SAMPLES = 7
SAMPLE_S = 0.5
AT_ONCE = 2
LOOK_S = 0.02
WIDTH = 120
"""Of the table, on a terminal and in a file."""
TURNS_AT_ONCE = 10
ASK_S = 5.0
STAMP = Stamp("soak", "1")


def main() -> int:
    """Run, and print. 1: something grew by more than it may, or turns are missing. 2: it could not be carried out."""
    options = _options()
    about = machine()
    errors = Console(stderr=True, highlight=False)
    errors.print(" · ".join(f"{name} {value}" for name, value in about.items()), style="dim")
    directory = Path(tempfile.mkdtemp(prefix="ek-"))
    begun_s = time.monotonic()
    try:
        with world(directory, SETTINGS) as running:
            soak = Soak(running, directory, errors, transcripts=options.transcripts)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: soak.end())
            soak.carry_out(options.turns, options.mark)
    except (BenchError, EarshotError) as error:
        errors.print(f"error: {error}; see {directory}", style="red", markup=False)
        return 2
    marks = soak.marks
    found = [*soak.wrong, *leaks(marks[0], marks[-1])]
    output = Console(highlight=False, width=WIDTH)
    output.print(table(marks, box.MARKDOWN if options.markdown else box.SIMPLE))
    output.print(f"{marks[-1].turns} of {options.turns} turns in {time.monotonic() - begun_s:.0f} s")
    for line in found:
        output.print(line, style="red", markup=False)
    if options.json:
        figures = {"machine": about, "marks": [asdict(mark) for mark in marks], "findings": found}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    if found:
        output.print(f"evidence: {directory}")
        return 1
    shutil.rmtree(directory, ignore_errors=True)
    return 0


class Soak:
    """Speaks, and looks at each mark."""

    def __init__(self, running: World, directory: Path, tell: Console, *, transcripts: bool) -> None:
        """With `transcripts` turns begin as words and not as sound, which takes a tenth of the time and leaves two kinds of actors out."""
        self._transcribed = Transcribed(running.addresses) if transcripts else None
        self._running = running
        self._directory = directory
        self._tell = tell
        self._enough = False
        self._file = directory / "script.wav"
        sounds.write(self._file, sounds.scripts(1, 1, FILE_TURNS, sounds.sayings())[0])
        self._spoken = 0
        self.marks: list[Mark] = []
        self.wrong: list[str] = []

    def end(self) -> None:
        """Say no more files; look once more, and be done."""
        self._enough = True

    def carry_out(self, turns: int, mark_turns: int) -> None:
        while self._spoken < turns and not self._enough:
            self._speak(min(mark_turns, turns - self._spoken))
            self.marks.append(_mark(self._running, self._spoken))
            used_kb = sum(holding.rss_kb for holding in self.marks[-1].holdings.values())
            self._tell.print(f"{self._spoken} turns, {used_kb / 1024:.0f} MB")
        kept = len(remembered(self._running.addresses))
        if kept != self._spoken:
            self.wrong.append(f"{self._spoken} utterances were said and {kept} turns are remembered")

    def _speak(self, turns: int) -> None:
        if self._transcribed:
            self._spoken += self._transcribed.say(turns, lambda: self._enough)
            return
        first = self._spoken // FILE_TURNS
        files = [(f"soak{number}", self._file) for number in range(first, first + turns // FILE_TURNS)]
        speakers = Speakers(self._running, self._directory, files, at_once=AT_ONCE, patience_s=PATIENCE_S, paces=("fast",))
        try:
            while not speakers.over:
                if self._enough:
                    speakers.enough()
                speakers.step()
                time.sleep(LOOK_S)
        finally:
            speakers.close()
        self._spoken += len(speakers.spoken) * FILE_TURNS
        bad = (found for found in speakers.spoken if found.complaint or found.overdue)
        self.wrong += [f"{found.stream}: {found.complaint or 'not over by its deadline'}" for found in bad]


class Transcribed:
    """Hands over what would have been heard, a few turns at a time, as a transcriber does."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._client = JobClient(self._context, addresses.jobs, STAMP)
        self._said = 0

    def say(self, turns: int, enough: Callable[[], bool]) -> int:
        """Have so many turns answered; return how many were, fewer when it was enough."""
        end = self._said + turns
        begun = self._said
        while self._said < end and not enough():
            for _ in range(TURNS_AT_ONCE):
                stream, number = divmod(self._said, FILE_TURNS)
                work = Heard(transcript="what is seven plus five", speech_ms=1420)
                self._client.submit(Job(turn=f"soak{stream}-words-{number * FRAME_SAMPLES}", stream=f"soak{stream}", work=work))
                self._said += 1
            wait_for(self._is_through, "turns to be over")
        return self._said - begun

    def _is_through(self) -> bool:
        while self._client.monitor.poll(0):
            self._client.notice_connection()
        self._client.receive()
        jobs = query_jobs(self._context, self._addresses.jobs, STAMP, "", ASK_S) if not self._client.outstanding else None
        return jobs is not None and not any(is_open(job.state) for job in jobs)


def _mark(running: World, turns: int) -> Mark:
    """The median of some samples, once all is quiet."""
    samples: dict[str, list[Holding]] = {}
    for _ in range(SAMPLES):
        time.sleep(SAMPLE_S)
        for name, pid in {LAUNCHER: running.launcher, **{name: life.pid for name, life in running.children().items()}}.items():
            try:
                samples.setdefault(name, []).append(look(pid))
            except OSError:
                raise BenchError(f"{name} died while nobody touched it; see {running.journal}") from None
    return Mark(turns, {name: median(found) for name, found in samples.items()}, _files_kb(running))


def _files_kb(running: World) -> dict[str, int]:
    state = running.addresses.state_dir
    patterns = {"spool": "spool.sqlite3*", "memory": "memory.sqlite3*", "logs": "logs/*", "flight": "flight/*"}
    return {name: sum(path.stat().st_size for path in state.glob(pattern)) // 1024 for name, pattern in patterns.items()}


def table(marks: Sequence[Mark], frame: box.Box) -> Table:
    """One row a process: what it held at the first mark and the last. Growth: of resident memory; own: of what it shares with none."""
    first, last = marks[0], marks[-1]
    drawn = Table("Process", f"MB at {first.turns}", f"at {last.turns}", "Growth", "Own", "Files", "Sockets", "Threads", box=frame)
    for column in drawn.columns:
        column.no_wrap = True
    for column in drawn.columns[1:]:
        column.justify = "right"
    for name, before in first.holdings.items():
        after = last.holdings.get(name)
        if after is None:
            continue
        drawn.add_row(name, _mb(before.rss_kb), _mb(after.rss_kb), f"{growth_percent(before, after):+.1f} %", *_change(before, after))
    for name, size_kb in first.files_kb.items():
        drawn.add_row(f"{name} on disk", _mb(size_kb), _mb(last.files_kb[name]))
    return drawn


def _change(before: Holding, after: Holding) -> tuple[str, ...]:
    own = (after.uss_kb / before.uss_kb - 1) * 100
    counts = [(getattr(before, what), getattr(after, what)) for what in ("fds", "sockets", "threads")]
    return (f"{own:+.1f} %", *(str(now) if now == then else f"{then} → {now}" for then, now in counts))


def _mb(kb: int) -> str:
    return f"{kb / 1024:.1f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.soak", description="Thousands of turns, and what each process holds after.")
    parser.add_argument("--turns", type=int, default=10_000, help=f"utterances to be said, a multiple of {FILE_TURNS}")
    parser.add_argument("--transcripts", action="store_true", help="begin turns as words and not as sound: quick, without the ear")
    parser.add_argument("--mark", type=int, default=MARK_TURNS, metavar="TURNS", help="look after each so many turns")
    parser.add_argument("--markdown", action="store_true", help="draw the table for a page of the documentation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if options.turns % FILE_TURNS or options.mark % FILE_TURNS or options.turns < options.mark:
        parser.error(f"--turns and --mark must be multiples of {FILE_TURNS}, and --turns not less than --mark")
    return options


if __name__ == "__main__":
    sys.exit(main())
