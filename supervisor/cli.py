"""The command line. Each command finds its instance, calls the module that does the work, and prints.

What a command needs is imported when it runs: `supervisor start` is to be quick, and a table library is slow.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import click

from bus.addresses import Addresses
from bus.errors import EarshotError, SetupError

Command = TypeVar("Command", bound=Callable[..., Any])
CONTEXT = {"help_option_names": ["-h", "--help"]}
PATH = click.Path(path_type=Path)
PLACE = "[NAME@]HOST:PORT"


def configured(command: Command) -> Command:
    """Give a command --config and --set."""
    command = click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change one setting: --set vad.mode=2")(command)
    return click.option("--config", multiple=True, type=PATH, metavar="FILE", help="A configuration file; later ones go before.")(command)


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="earshot")
def cli() -> None:
    """Earshot, an offline voice assistant: start it, look into it, talk to it.

    EARSHOT_RUNTIME_DIR and EARSHOT_STATE_DIR say which instance is meant, where several run side by side.
    """


@cli.command()
@configured
@click.option("--detach", is_flag=True, help="Run in the background; return when it is ready.")
@click.option("--background", is_flag=True, hidden=True)
def start(config: tuple[Path, ...], sets: tuple[str, ...], detach: bool, background: bool) -> None:
    """Start the assistant: microphone, medium.en and vLLM on this machine, or what the configuration says."""
    from supervisor import start as starting
    from supervisor.settings import load

    try:
        settings = load(config, sets)
        if detach:
            pid = starting.detach(settings, starting.options_of(config, sets), lambda line: click.echo(line, err=True))
            click.echo(f"Ready (process {pid}). Talk to it, or try `supervisor hear FILE`; `supervisor stop` ends it.")
            return
        # In a service, standard output is the journal: what was said does not go there.
        starting.run(settings, console=not background and "JOURNAL_STREAM" not in os.environ)
    except SetupError as error:
        _fail(str(error), os.EX_CONFIG)  # a service manager is told not to try again


@cli.command()
@configured
def stop(config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Stop the running assistant; return once it is gone."""
    from supervisor.client import stop as stop_instance

    stop_instance(_instance(config, sets))
    click.echo("Stopped.")


@cli.command()
@click.argument("actor")
@configured
def restart(actor: str, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Stop one actor and start it again, or revive one that has failed; return once it is ready."""
    from supervisor.client import restart as restart_actor

    pid = restart_actor(_instance(config, sets), actor)
    click.echo(f"{actor} is ready (process {pid}).")


@cli.command()
@configured
@click.option("--json", "as_json", is_flag=True, help="One JSON object per actor and line.")
@click.option("--watch", is_flag=True, help="Keep it up to date, until Ctrl+C.")
@click.option("--every", "interval_s", type=click.FloatRange(0.1), default=1.0, show_default=True, metavar="SECONDS", help="With --watch.")
def status(config: tuple[Path, ...], sets: tuple[str, ...], as_json: bool, watch: bool, interval_s: float) -> None:
    """Show every actor's state."""
    from supervisor.client import status as ask_status
    from supervisor.views import status as view
    from supervisor.views.status import json_line, show

    addresses = _instance(config, sets)
    if watch and not as_json:
        view.watch(lambda: ask_status(addresses), interval_s)
    state = ask_status(addresses)
    if not as_json:
        show(state)
        return
    for actor in state.actors:
        click.echo(json_line(actor))


@cli.command()
@click.argument("actor", default="")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@configured
def logs(actor: str, follow: bool, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Show the log of ACTOR, or of all; of the last run when none is running."""
    from supervisor.systemd import manager
    from supervisor.views import logs as view

    addresses = _instance(config, sets)
    if manager.supervises(addresses):
        manager.show_logs(addresses, actor, follow=follow)
    files = view.log_files(addresses, actor)
    for path in files:
        prefix = "" if actor else f"{path.stem:<13} | "
        for line in view.last_lines(path):
            click.echo(prefix + line)
    if follow:
        for path, line in view.follow(lambda: view.log_files(addresses, actor)):
            click.echo(("" if actor else f"{path.stem:<13} | ") + line)


@cli.command()
@configured
def check(config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Check the configuration, and tell every error in it at once."""
    from supervisor.settings import load

    settings = load(config, sets)
    click.echo("The configuration is good.")
    if settings.network.listen:
        from supervisor.keys import exposure

        click.echo(exposure(settings))


@cli.command()
@configured
def doctor(config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Check what the assistant needs: libraries, model, microphone, language model, cores, directories."""
    from supervisor.doctor import run_checks
    from supervisor.settings import load

    bad = False
    for found in run_checks(load(config, sets)):
        bad = bad or found.status == "error"
        advice = f"; {found.advice}" if found.advice else ""
        click.echo(f"{found.status:<8} {found.name:<12} {found.detail}{advice}")
    if bad:
        sys.exit(1)


@cli.command()
@configured
@click.option("--json", "as_json", is_flag=True, help="The plan as one JSON object.")
def topology(config: tuple[Path, ...], sets: tuple[str, ...], as_json: bool) -> None:
    """Show this machine's cores, and which actor would run where."""
    from supervisor.placement import plan_for, to_json
    from supervisor.settings import load
    from supervisor.topology import this_machine

    machine = this_machine()
    placement = plan_for(machine, load(config, sets).whisper)
    if as_json:
        click.echo(json.dumps(to_json(machine, placement)))
        return
    from supervisor.views.topology import show

    show(machine, placement)


def filtered(command: Command) -> Command:
    """Give a command the options that choose among events."""
    for option in (
        click.option("--where", multiple=True, metavar="CONDITION", help="Only where this holds: --where 'audio_ms > 500'."),
        click.option("--actor", default="", help="Only from or about this actor; `whisper` means all of them."),
        click.option("--stream", default="", help="Only of this stream."),
        click.option("--turn", default="", help="Only of the turn whose name begins so."),
        click.argument("topics", nargs=-1),
    ):
        command = option(command)
    return command


@cli.command()
@filtered
@configured
@click.option("--since", metavar="TIME", help="First what passed in the last 30s, 5m, 1h, from the flight recorder.")
@click.option("--json", "form", flag_value="json", help="One JSON object per event and line.")
@click.option("--raw", "form", flag_value="raw", help="As on the wire: topic, head in hex, bytes of payload.")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@click.option("--timeout", type=click.FloatRange(0.0), metavar="SECONDS", help="End after so long.")
@click.option("--connect", default="", metavar=PLACE, help="Of the assistant on another machine; see `supervisor keys`.")
def tap(
    *,
    topics: tuple[str, ...],
    turn: str,
    stream: str,
    actor: str,
    where: tuple[str, ...],
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
    from supervisor.filters import wanted
    from supervisor.views import tap as view

    chosen = wanted(topics, turn=turn, stream=stream, actor=actor, where=where)
    since_s = None if since is None else view.seconds(since)
    addresses = dataclasses.replace(_instance(config, sets), remote=connect)
    messages = view.tap(addresses, chosen, since_s=since_s, timeout_s=timeout, tell=lambda text: click.echo(text, err=True))
    seen = 0
    for _, line in view.lines(messages, cast(view.Form, form or "text")):
        click.echo(line)
        seen += 1
        if seen == count:
            return
    if count is not None:
        raise EarshotError(f"{seen} of {count} events came")


@cli.group()
def topic() -> None:
    """The events of the bus: list them, measure them, publish one."""


@topic.command("list")
@configured
@click.option("--fields", is_flag=True, help="Show the fields of each, with their types.")
@click.option("--rates", "seconds", type=click.FloatRange(0.1), metavar="SECONDS", help="Listen so long, and show how often each came.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per topic and line.")
def topic_list(*, config: tuple[Path, ...], sets: tuple[str, ...], fields: bool, seconds: float | None, as_json: bool) -> None:
    """Show every topic, and what it tells."""
    from supervisor import topics

    came = topics.rates(_instance(config, sets), seconds) if seconds else {}
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
    @click.option("--for", "seconds", type=click.FloatRange(0.1), default=5.0, show_default=True, metavar="SECONDS")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object.")
    def command(
        *,
        topics: tuple[str, ...],
        turn: str,
        stream: str,
        actor: str,
        where: tuple[str, ...],
        config: tuple[Path, ...],
        sets: tuple[str, ...],
        seconds: float,
        as_json: bool,
    ) -> None:
        from supervisor import topics as measuring
        from supervisor.filters import wanted

        chosen = wanted(topics, turn=turn, stream=stream, actor=actor, where=where)
        values = getattr(measuring.measure(_instance(config, sets), chosen, seconds), method)(seconds)
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

    topics.publish(_instance(config, sets), topics.read_event(name, body), turn=turn, stream=stream)
    click.echo("Published.")


@cli.command()
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

    addresses = _instance(config, sets)
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


@cli.command()
@click.argument("files", nargs=-1, required=True, type=PATH)
@configured
@click.option(
    "--pace", type=click.Choice(["real", "fast"]), default="fast", show_default=True, help="In real time, or as fast as it is heard."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per turn and line.")
@click.option("--stream", default="hear", show_default=True, help="Name of the conversation; another one begins another.")
def hear(*, files: tuple[Path, ...], config: tuple[Path, ...], sets: tuple[str, ...], pace: str, as_json: bool, stream: str) -> None:
    """Let the running assistant hear sound FILES, and show what it understood and answered.

    The exit status is 0; 1 when a file could not be heard; 3 when a turn ended in an apology.
    """
    from supervisor.hear import hear_files

    sys.exit(hear_files(_instance(config, sets), files, pace=pace, stream=stream, as_json=as_json))


@cli.command()
@click.argument("file", type=PATH)
@configured
@click.option("--for", "seconds", type=click.FloatRange(0.1), metavar="SECONDS", help="End after so long.")
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

    addresses = _instance(config, sets)
    if str(file) == "stop":
        with recording.RecorderLine(addresses) as line:
            click.echo(recording.summary(line.stop()))
    elif detach:
        with recording.RecorderLine(addresses) as line:
            line.start(file, sound=not no_sound, text=not no_words)
        click.echo(f"Recording to {file}; `supervisor record stop` ends it.")
    else:
        recording.record(addresses, file, sound=not no_sound, text=not no_words, seconds=seconds, say=click.echo)


@cli.command()
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

    replayed = replay_file(file, config=config, sets=sets, pace=pace, stub_llm=stub == "llm", show=not as_json and sys.stdout.isatty())
    if as_json:
        for line in view.json_lines(replayed):
            click.echo(line)
    else:
        view.show(replayed, pace)
    if view.count(replayed):
        sys.exit(3)


@cli.group()
def crashes() -> None:
    """What is kept of actors that crashed or hung: stacks, log, the last seconds of the bus, the job."""


@crashes.command("list")
@configured
@click.option("--json", "as_json", is_flag=True, help="One JSON object per crash and line.")
def crashes_list(*, config: tuple[Path, ...], sets: tuple[str, ...], as_json: bool) -> None:
    """Show the crashes that are kept, oldest first."""
    from supervisor import crashes as keeping

    for name, crash in keeping.crashes(_instance(config, sets)):
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

    click.echo(text(*keeping.find(_instance(config, sets), name)))


@crashes.command("replay")
@click.argument("name", default="last")
@configured
def crashes_replay(name: str, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Give the job of a crash to an assistant of its own; exit 3 when its worker dies again."""
    from supervisor import crashes as keeping
    from supervisor.crash_replay import replay

    place, _ = keeping.find(_instance(config, ()), name)
    verdict = replay(place, sets)
    click.echo(verdict.text)
    if verdict.reproduced:
        sys.exit(3)


@cli.group()
def parked() -> None:
    """Work that was given up after all its attempts: list it, have it tried again, or drop it."""


@parked.command("list")
@configured
@click.option("--words", is_flag=True, help="Show what was said, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per job and line.")
def parked_list(config: tuple[Path, ...], sets: tuple[str, ...], words: bool, as_json: bool) -> None:
    """Show the given-up jobs.

    With them: since when, how often each was tried, and why it failed.
    """
    from supervisor import parked as work

    found = work.listed(_instance(config, sets))
    if as_json:
        for job in found:
            click.echo(json.dumps(work.fields(job, words=words), ensure_ascii=False))
        return
    from supervisor.views.parked import show

    show(found, words=words)


@parked.command("retry")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@configured
def parked_retry(jobs: tuple[str, ...], everything: bool, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Try given-up jobs again.

    JOB is the name of a job or of a turn. What was asked is answered after all, late.
    """
    from supervisor import parked as work

    chosen = work.retry(_instance(config, sets), jobs, everything=everything)
    click.echo(f"{_jobs(len(chosen))} tried again; a late answer takes the place of the failed turn in `supervisor memory list`.")


@parked.command("drop")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@configured
def parked_drop(jobs: tuple[str, ...], everything: bool, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Drop given-up jobs for good.

    JOB is the name of a job or of a turn. The sound and the words in them are wiped; what memory keeps of their turns stays.
    """
    from supervisor import parked as work

    chosen = work.drop(_instance(config, sets), jobs, everything=everything)
    click.echo(f"{_jobs(len(chosen))} dropped.")


def _jobs(number: int) -> str:
    return "1 job is" if number == 1 else f"{number} jobs are"


@cli.group()
def keys() -> None:
    """Who may talk with this machine over the network: see docs/security.md."""


@keys.command("new")
@click.argument("name")
@configured
def keys_new(name: str, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Make the keys of this machine, which other machines know as NAME."""
    from supervisor import keys as actions

    click.echo(actions.new(_instance(config, sets), name))


@keys.command("allow", context_settings={"ignore_unknown_options": True})  # a key may begin with a dash
@click.argument("name")
@click.argument("public_key")
@configured
def keys_allow(name: str, public_key: str, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Let the machine NAME in, which has this PUBLIC_KEY, and trust it when connecting to it."""
    from supervisor import keys as actions

    click.echo(actions.allow(_instance(config, sets), name, public_key))


@keys.command("revoke")
@click.argument("name")
@configured
def keys_revoke(name: str, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Let the machine NAME in no longer; what it has open is cut off."""
    from supervisor import keys as actions

    click.echo(actions.revoke(_instance(config, sets), name))


@keys.command("list")
@configured
def keys_list(config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Show the public keys: this machine's, and those that are allowed."""
    from supervisor import keys as actions

    for line in actions.listed(_instance(config, sets)):
        click.echo(line)


@cli.command()
@click.argument("actor")
@click.option("--connect", required=True, metavar=PLACE, help="Where the assistant is.")
@click.option("--name", default="", help="Of this worker over there; by default a number made from this machine's name.")
@configured
def join(*, actor: str, connect: str, name: str, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Work for the assistant on another machine: `supervisor join whisper --connect desk@10.0.0.5:7700`."""
    from supervisor.join import join as join_there
    from supervisor.settings import load

    join_there(load(config, sets), actor, connect, name)


@cli.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def memory(arguments: tuple[str, ...]) -> NoReturn:
    """List, search, export or forget what was said: `supervisor memory list`."""
    from supervisor import modules

    addresses = _instance((), ())
    environ = {**modules.environ(), **addresses.environ}
    if addresses.config.exists():
        environ["EARSHOT_CONFIG"] = str(addresses.config)
    command = modules.command("actors.memory", *arguments)
    os.execve(command[0], command, environ)  # noqa: S606 - our own program, and no shell


@cli.command()
@click.option("--systemd", is_flag=True, required=True, help="Write the units of systemd.")
@click.option("--user", is_flag=True, help="For yourself, with your own sound server; without root.")
@click.option("--service", "variant", flag_value="service", help="Only earshot.service: one unit, the launcher supervises.")
@click.option("--target", "variant", flag_value="target", help="Only earshot.target: each actor a unit, systemd supervises.")
@click.option("--root", type=PATH, default=Path("/"), metavar="DIR", help="Write below DIR, for an image or a package.")
@click.option("--python", type=PATH, metavar="PATH", help="The interpreter that the units name, for a package.")
def install(*, systemd: bool, user: bool, variant: str | None, root: Path, python: Path | None) -> None:
    """Have systemd run the assistant: write its units, its user and a configuration. Repeat it after an update."""
    from supervisor.systemd.install import Place
    from supervisor.systemd.install import install as install_units

    assert systemd
    place = Place(user=user, root=root.absolute())
    install_units(place, "service" if variant == "service" else "target" if variant == "target" else "both", click.echo, python)


@cli.command()
@click.option("--systemd", is_flag=True, required=True, help="Remove the units of systemd.")
@click.option("--user", is_flag=True, help="What was installed with `install --user`.")
@click.option("--purge", is_flag=True, help="Remove the configuration and everything that was said, too.")
@click.option("--root", type=PATH, default=Path("/"), metavar="DIR", help="What was installed with `install --root DIR`.")
def uninstall(*, systemd: bool, user: bool, purge: bool, root: Path) -> None:
    """Stop what `install` has set up, and remove it. What was said stays, but for --purge."""
    from supervisor.systemd.install import Place
    from supervisor.systemd.install import uninstall as uninstall_units

    assert systemd
    uninstall_units(Place(user=user, root=root.absolute()), click.echo, purge=purge)


@cli.command(hidden=True)
@configured
def prepare(config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Leave what the units of the actors need; run by earshot-prepare.service."""
    from supervisor.settings import load
    from supervisor.systemd.prepare import prepare as prepare_units

    try:
        for note in prepare_units(load(config, sets)):
            click.echo(note)
    except SetupError as error:
        _fail(str(error), os.EX_CONFIG)


def _instance(config: Sequence[Path], sets: Sequence[str]) -> Addresses:
    """The instance that is meant: by the environment, or by a configuration that places it."""
    from supervisor.instance import of_running

    if not config and not sets:
        return of_running(Addresses.resolve())
    from supervisor.settings import load

    place = load(config, sets).instance
    return of_running(Addresses(Path(place.runtime_dir), Path(place.state_dir)))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command. An error of the user's is one line for each fault, exit status 1, or 2 for a wrong command line,
    or 78 (EX_CONFIG) from a start for what only the user can put right."""
    os.umask(0o077)  # logs, locks and ports are for this user alone
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows a question mark
    try:
        sys.exit(cli.main(arguments, prog_name="supervisor", standalone_mode=False))
    except click.UsageError as error:
        hint = f"; see `{error.ctx.command_path} --help`" if error.ctx else ""
        _fail(error.format_message().rstrip(".") + hint, 2)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except EarshotError as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush does not fail as well
        sys.exit(0)
    except OSError as error:
        _fail(": ".join(str(part) for part in (error.filename, error.strerror or error) if part), 1)


def _fail(text: str, status: int) -> NoReturn:
    for line in text.splitlines():
        sys.stderr.write(f"error: {line}\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
