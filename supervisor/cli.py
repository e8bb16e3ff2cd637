"""The command line. Each command finds its instance, calls the module that does the work, and prints.

What a command needs is imported when it runs: `supervisor start` is to be quick, and a table library is slow.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from bus.errors import EarshotError, SetupError
from supervisor import cli_observe
from supervisor.options import PATH, PLACE, Seconds, configured, instance

CONTEXT = {"help_option_names": ["-h", "--help"]}


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

    stop_instance(instance(config, sets))
    click.echo("Stopped.")


@cli.command()
@click.argument("actor")
@configured
def restart(actor: str, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Stop one actor and start it again, or revive one that has failed; return once it is ready."""
    from supervisor.client import restart as restart_actor

    pid = restart_actor(instance(config, sets), actor)
    click.echo(f"{actor} is ready (process {pid}).")


@cli.command()
@click.argument("text")
@configured
def say(text: str, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Say TEXT aloud, to try the voice; return once it has been heard."""
    from supervisor.say import say as say_aloud

    say_aloud(instance(config, sets), text)


@cli.command()
@configured
@click.option("--json", "as_json", is_flag=True, help="One JSON object per actor and line.")
@click.option("--watch", is_flag=True, help="Keep it up to date, until Ctrl+C.")
@click.option("--every", "interval_s", type=Seconds(0.1), default=1.0, show_default=True, metavar="SECONDS", help="With --watch.")
def status(config: tuple[Path, ...], sets: tuple[str, ...], as_json: bool, watch: bool, interval_s: float) -> None:
    """Show every actor's state."""
    from supervisor.client import status as ask_status
    from supervisor.views import status as view
    from supervisor.views.status import json_line, show

    addresses = instance(config, sets)
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

    addresses = instance(config, sets)
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

    sys.exit(hear_files(instance(config, sets), files, pace=pace, stream=stream, as_json=as_json))


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

    found = work.listed(instance(config, sets))
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

    chosen = work.retry(instance(config, sets), jobs, everything=everything)
    _tell_settled(chosen, "tried again; a late answer takes the place of the failed turn in `supervisor memory list`.")


@parked.command("drop")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@configured
def parked_drop(jobs: tuple[str, ...], everything: bool, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Drop given-up jobs for good.

    JOB is the name of a job or of a turn. The sound and the words in them are wiped; what memory keeps of their turns stays.
    """
    from supervisor import parked as work

    chosen = work.drop(instance(config, sets), jobs, everything=everything)
    _tell_settled(chosen, "dropped.")


def _tell_settled(jobs: Sequence[str], what: str) -> None:
    number = "1 job is" if len(jobs) == 1 else f"{len(jobs)} jobs are"
    click.echo(f"{number} {what}" if jobs else "Nothing is parked.")


@cli.group()
def keys() -> None:
    """Who may talk with this machine over the network: see docs/security.md."""


@keys.command("new")
@click.argument("name")
@configured
def keys_new(name: str, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Make the keys of this machine, which other machines know as NAME."""
    from supervisor import keys as actions

    click.echo(actions.new(instance(config, sets), name))


@keys.command("allow", context_settings={"ignore_unknown_options": True})  # a key may begin with a dash
@click.argument("name")
@click.argument("public_key")
@configured
def keys_allow(name: str, public_key: str, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Let the machine NAME in, which has this PUBLIC_KEY, and trust it when connecting to it."""
    from supervisor import keys as actions

    click.echo(actions.allow(instance(config, sets), name, public_key))


@keys.command("revoke")
@click.argument("name")
@configured
def keys_revoke(name: str, config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Let the machine NAME in no longer; what it has open is cut off."""
    from supervisor import keys as actions

    click.echo(actions.revoke(instance(config, sets), name))


@keys.command("list")
@configured
def keys_list(config: tuple[Path, ...], sets: tuple[str, ...]) -> None:
    """Show the public keys: this machine's, and those that are allowed."""
    from supervisor import keys as actions

    for line in actions.listed(instance(config, sets)):
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

    addresses = instance((), ())
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


for _command in (cli_observe.tap, cli_observe.topic, cli_observe.turns, cli_observe.record, cli_observe.replay, cli_observe.crashes):
    cli.add_command(_command)


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
