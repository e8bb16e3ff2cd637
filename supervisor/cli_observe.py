"""The commands that look inside: tap, topic, turns, record, replay, crashes."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from bus.errors import EarshotError
from supervisor.options import PATH, PLACE, Seconds, configured, filtered, instance

if TYPE_CHECKING:
    from supervisor.filters import Wanted


@click.command()
@filtered
@configured
@click.option("--since", metavar="TIME", help="First what passed in the last 30s, 5m, 1h, from the flight recorder.")
@click.option("--json", "form", flag_value="json", help="One JSON object per event and line.")
@click.option("--raw", "form", flag_value="raw", help="As on the wire: topic, head in hex, bytes of payload.")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@click.option("--timeout", type=Seconds(0.0), metavar="SECONDS", help="End after so long.")
@click.option("--connect", default="", metavar=PLACE, help="Of the assistant on another machine; see `supervisor keys`.")
def tap(
    *,
    chosen: Wanted,
    config: tuple[Path, ...],
    sets: tuple[str, ...],
    since: str | None,
    form: str | None,
    count: int | None,
    timeout: float | None,
    connect: str,
) -> None:
    """Show events as they pass: all, or those whose topic begins with one of TOPICS (`speech`) or matches it (`*.finished`).

    The topic `audio.frame` shows the sound of all streams as a level.
    """
    from supervisor.views import tap as view

    since_s = None if since is None else view.seconds(since)
    addresses = dataclasses.replace(instance(config, sets), remote=connect)
    messages = view.tap(addresses, chosen, since_s=since_s, timeout_s=timeout, tell=lambda text: click.echo(text, err=True))
    seen = 0
    for _, line in view.lines(messages, cast(view.Form, form or "text")):
        click.echo(line)
        seen += 1
        if seen == count:
            return
    if count is not None:
        raise EarshotError(f"{seen} of {count} events came")


@click.group()
def topic() -> None:
    """The events of the bus: list them, measure them, publish one."""


@topic.command("list")
@configured
@click.option("--fields", is_flag=True, help="Show the fields of each, with their types.")
@click.option("--rates", "seconds", type=Seconds(0.1), metavar="SECONDS", help="Listen so long, and show how often each came.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per topic and line.")
def topic_list(*, config: tuple[Path, ...], sets: tuple[str, ...], fields: bool, seconds: float | None, as_json: bool) -> None:
    """Show every topic, and what it tells."""
    from supervisor import topics

    came = topics.rates(instance(config, sets), seconds) if seconds else {}
    for name, kind in topics.event_types().items():
        rate = came.get(name, 0) / seconds if seconds else None
        if as_json:
            values = {"topic": name, "tells": topics.summary(kind), "fields": topics.field_types(kind), "per_s": rate}
            click.echo(json.dumps(values, ensure_ascii=False))
            continue
        click.echo(f"{name:<18}" + (f"{rate:8.1f}/s  " if rate is not None else "") + topics.summary(kind))
        if fields and (types := topics.field_types(kind)):
            click.echo(f"{'':<18}{types}")


def _measuring(name: str, method: str, about: str) -> None:
    @topic.command(name, help=about)
    @filtered
    @configured
    @click.option("--for", "seconds", type=Seconds(0.1), default=5.0, show_default=True, metavar="SECONDS")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object.")
    def command(
        *,
        chosen: Wanted,
        config: tuple[Path, ...],
        sets: tuple[str, ...],
        seconds: float,
        as_json: bool,
    ) -> None:
        from supervisor import topics as measuring

        values = getattr(measuring.measure(instance(config, sets), chosen, seconds), method)(seconds)
        if as_json:
            click.echo(json.dumps({key: None if math.isnan(value) else value for key, value in values.items()}))
        else:
            click.echo("\n".join(measuring.number_lines(values)))


_measuring("hz", "rate", "How often events come, and how evenly.")
_measuring("bw", "bandwidth", "How many bytes they take.")
_measuring("delay", "delay", "How long they are on their way.")


@topic.command("pub")
@click.argument("name", metavar="TOPIC")
@click.argument("body", metavar="JSON", default="{}")
@configured
@click.option("--turn", default="", help="The turn that it is about.")
@click.option("--stream", default="", help="The stream that it is about.")
def topic_pub(*, name: str, body: str, config: tuple[Path, ...], sets: tuple[str, ...], turn: str, stream: str) -> None:
    """Publish one event, checked by its type: supervisor topic pub reply.waiting '{"reason": "a test"}'."""
    from supervisor import topics

    topics.publish(instance(config, sets), topics.read_event(name, body), turn=turn, stream=stream)
    click.echo("Published.")


@click.command()
@configured
@click.option("--last", default=20, show_default=True, type=click.IntRange(0), help="How many turns of the past.")
@click.option("--stream", default="", help="Only this conversation.")
@click.option("--turn", default="", metavar="ID", help="All of one turn, by its name or `last`.")
@click.option("--follow", "-f", is_flag=True, help="Go on with the turns that are over from now on.")
@click.option("--words", is_flag=True, help="Show what was said, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per turn and line.")
@click.option("--svg", type=PATH, metavar="FILE", help="Draw a picture of the turns instead.")
def turns(
    *,
    config: tuple[Path, ...],
    sets: tuple[str, ...],
    last: int,
    stream: str,
    turn: str,
    follow: bool,
    words: bool,
    as_json: bool,
    svg: Path | None,
) -> None:
    """Show where the time of the last turns went, from the end of speech on. Works without a running assistant.

    What was said is left out unless --words asks for it: these lines and pictures are made to be shown to others.
    """
    if follow and (turn or svg):
        raise click.UsageError("--follow goes with neither --turn nor --svg")
    from supervisor.views import turns as view

    addresses = instance(config, sets)
    if follow:
        batches = view.follow(addresses, last, stream)
        if not as_json:
            view.show_following(batches, words=words)
            return
        for batch in batches:
            for one in view.taken_apart(batch):
                click.echo(view.json_line(one, words=words))
        return
    found = view.past(addresses, last, stream, turn)
    if svg:
        from supervisor.views.turns_picture import save

        save(found, svg, words=words)
        click.echo(f"{svg} shows {len(found)} turn{'' if len(found) == 1 else 's'}.")
    elif as_json:
        for one in found:
            click.echo(view.json_line(one, words=words))
    elif turn:
        view.show_one(found[0], words=words)
    else:
        view.show(found, words=words)


@click.command()
@click.argument("file", type=PATH)
@configured
@click.option("--for", "seconds", type=Seconds(0.1), metavar="SECONDS", help="End after so long.")
@click.option("--detach", is_flag=True, help="Return at once; `supervisor record stop` ends it.")
@click.option("--no-sound", is_flag=True, help="Events only.")
@click.option("--no-words", is_flag=True, help="Leave out what was said (give --no-sound too, or it can be heard).")
def record(
    *,
    file: Path,
    config: tuple[Path, ...],
    sets: tuple[str, ...],
    seconds: float | None,
    detach: bool,
    no_sound: bool,
    no_words: bool,
) -> None:
    """Record every event, and the sound, to FILE (MCAP: Foxglove reads it, `supervisor replay` plays it); `stop` as FILE ends it."""
    from supervisor import record as recording

    addresses = instance(config, sets)
    if str(file) == "stop":
        with recording.RecorderLine(addresses) as line:
            click.echo(recording.summary(line.stop()))
    elif detach:
        with recording.RecorderLine(addresses) as line:
            line.start(file, sound=not no_sound, text=not no_words)
        click.echo(f"Recording to {file}; `supervisor record stop` ends it.")
    else:
        recording.record(addresses, file, sound=not no_sound, text=not no_words, seconds=seconds, say=click.echo)


@click.command()
@click.argument("file", type=PATH)
@configured
@click.option(
    "--pace", type=click.Choice(["real", "fast"]), default="real", show_default=True, help="As it was spoken, or as fast as it is heard."
)
@click.option("--stub", type=click.Choice(["llm"]), help="Take the model's replies from the recording.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each stretch of speech and line.")
def replay(*, file: Path, config: tuple[Path, ...], sets: tuple[str, ...], pace: str, stub: str | None, as_json: bool) -> None:
    """Hear the recording FILE again with an assistant of its own, and compare; exit 3 when something differs.

    Its configuration is the recorded one; --set tries a change: `--set whisper.model=small.en`.
    """
    from supervisor.replay import replay as replay_file
    from supervisor.views import replay as view

    addresses = instance((), ())
    show = not as_json and sys.stdout.isatty()
    replayed = replay_file(addresses, file, config=config, sets=sets, pace=pace, stub_llm=stub == "llm", show=show)
    if as_json:
        for line in view.json_lines(replayed):
            click.echo(line)
    else:
        view.show(replayed, pace)
    if view.count(replayed):
        sys.exit(3)


@click.group()
def crashes() -> None:
    """What is kept of actors that crashed or hung: stacks, log, the last seconds of the bus, the job."""


@crashes.command("list")
@configured
@click.option("--json", "as_json", is_flag=True, help="One JSON object per crash and line.")
def crashes_list(*, config: tuple[Path, ...], sets: tuple[str, ...], as_json: bool) -> None:
    """Show the crashes that are kept, oldest first."""
    from supervisor import crashes as keeping

    found = keeping.crashes(instance(config, sets))
    if not found and not as_json:
        click.echo("No crash is kept.")
    for name, crash in found:
        if as_json:
            click.echo(json.dumps({"name": name, **dataclasses.asdict(crash)}, ensure_ascii=False))
        else:
            click.echo(f"{name:<36} {crash.how:<16} {crash.job_id or '–':<40} {crash.reason}")


@crashes.command("show")
@click.argument("name", default="last")
@configured
def crashes_show(name: str, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Show one crash: by the beginning of its NAME, by its actor, or the last one."""
    from supervisor import crashes as keeping
    from supervisor.views.crash import text

    click.echo(text(*keeping.find(instance(config, sets), name)))


@crashes.command("replay")
@click.argument("name", default="last")
@configured
def crashes_replay(name: str, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Give the job of a crash to an assistant of its own; exit 3 when its worker dies again."""
    from supervisor import crashes as keeping
    from supervisor.crash_replay import replay

    addresses = instance(config, ())
    place, _ = keeping.find(addresses, name)
    verdict = replay(addresses, place, sets)
    click.echo(verdict.text)
    if verdict.reproduced:
        sys.exit(3)
