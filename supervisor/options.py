"""What several commands have in common: their options, and which instance they mean."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from bus.addresses import Addresses

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
PLACE = "[NAME@]HOST:PORT"


class Seconds(click.FloatRange):
    """At least so many seconds. `nan` and `inf`, which pass every comparison, are refused."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return seconds


def configured(command: Command) -> Command:
    """Give a command --config and --set."""
    command = click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change one setting: --set vad.mode=2")(command)
    return click.option("--config", multiple=True, type=PATH, metavar="FILE", help="A configuration file; later ones go before.")(command)


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that choose among events; it gets them as one argument, `chosen`."""

    @functools.wraps(command)
    def choosing(*, topics: tuple[str, ...], turn: str, stream: str, actor: str, where: tuple[str, ...], **others: Any) -> None:
        from supervisor.filters import wanted

        command(chosen=wanted(topics, turn=turn, stream=stream, actor=actor, where=where), **others)

    for option in (
        click.option("--where", multiple=True, metavar="CONDITION", help="Only where this holds: --where 'audio_ms > 500'."),
        click.option("--actor", default="", help="Only from or about this actor; `whisper` means all of them."),
        click.option("--stream", default="", help="Only of this stream."),
        click.option("--turn", default="", help="Only of the turn whose name begins so."),
        click.argument("topics", nargs=-1),
    ):
        choosing = option(choosing)
    return choosing


def instance(config: Sequence[Path], sets: Sequence[str]) -> Addresses:
    """The instance that is meant: by the environment, or by a configuration that places it."""
    from supervisor.instance import of_running

    if not config and not sets:
        return of_running(Addresses.resolve())
    from supervisor.settings import load

    place = load(config, sets).instance
    return of_running(Addresses(Path(place.runtime_dir), Path(place.state_dir)))
