"""Which processes an assistant is made of, as data. A pure function of the configuration and the placement plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from bus.settings import Settings
from supervisor.modules import command
from supervisor.placement import Placement
from supervisor.states import RestartPolicy
from supervisor.topology import format_cpu_list

BROKER: Final = "broker"
CONSOLE: Final = "console"
MIC: Final = "mic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """One process to start, watch and stop."""

    name: str
    argv: tuple[str, ...]
    wave: int = 0
    """Started once all of the earlier waves are ready; stopped before them."""
    base: bool = False
    """The others stand on it: it is stopped after all of them."""
    policy: RestartPolicy = "permanent"
    cpus: str = ""
    """The CPUs it pins itself to, as in `15-19`; empty: any."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables of its own, beside those that every child gets."""
    watchdog_s: float | None = None
    """Silent for longer than this, it counts as hung. None: it may be silent."""
    terminal: bool = False
    """Its standard output is the launcher's own, and not its log."""
    stdin: bool = False
    """Its standard input is the launcher's own, and not empty."""


def plan(settings: Settings, placement: Placement, *, foreground: bool) -> list[Child]:
    """The children, in the order of their start. With `foreground` the conversation is shown on the terminal."""
    light = format_cpu_list(placement.light)
    base = [
        replace(_actor(name, light, settings), base=True)
        for name in (BROKER, "dispatcher", "recorder", *["metrics"] * bool(settings.metrics.port))
    ]
    names = [
        "memory",
        "dialogue",
        "llm",
        "vad",
        *["rehearsal-llm"] * settings.rehearsal_llm.enabled,
        *["speaker", "tts"] * (settings.tts.engine != "none"),
        *["gate"] * bool(settings.network.listen),
    ]
    children = base + [_actor(name, light, settings) for name in names]
    for number, cpus in enumerate(placement.whisper, 1):
        worker = _actor(f"whisper-{number}", format_cpu_list(cpus), settings)
        children.append(replace(worker, env={"OMP_NUM_THREADS": str(len(cpus))}))
    if foreground and settings.console.enabled:
        children.append(_console(settings))
    if settings.mic.source != "none":
        children.append(_source(settings, light))
    return children


def _actor(name: str, cpus: str, settings: Settings) -> Child:
    return Child(name=name, argv=command("actors", name), cpus=cpus, watchdog_s=settings.launcher.watchdog_s)


def _source(settings: Settings, cpus: str) -> Child:
    """Started when everything else is ready, so that nothing is late in the first turn."""
    source = settings.mic.source
    policy: RestartPolicy = "until-done" if source in ("file", "stdin") else "permanent"
    return replace(_actor(MIC, cpus, settings), wave=1, policy=policy, stdin=source == "stdin")


def _console(settings: Settings) -> Child:
    """No watchdog: a terminal held with Ctrl+S blocks its writer for as long as the user likes."""
    options = () if settings.console.show_timings else ("--no-timings",)
    return Child(
        name=CONSOLE,
        argv=command("supervisor.views.console", *options),
        base=True,
        policy="until-done",
        terminal=True,
    )
