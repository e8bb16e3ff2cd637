"""`python -m chaos [--seed N] [--turns N] [--kills N]`: turns under faults, a table of what came of it, and 1 when a promise was broken."""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
from pathlib import Path

from rich import box
from rich.console import Console

from bench.instance import BenchError
from bench.result import percentile
from bench.system import machine
from bus.errors import EarshotError
from chaos.bad_workers import KINDS
from chaos.faults import plan
from chaos.report import RECOVERY_GOAL_MS, as_json, counts, promised, table
from chaos.run import SCRIPT_TURNS, Outcome, Task, run

MOST_FINDINGS = 20


def main() -> int:
    """Run, and print. 1: something was lost, answered twice, wrong, out of order or stuck. 2: it could not be carried out."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    about = {**machine(), "seed": options.seed, "kills": options.kills}
    errors = Console(stderr=True, highlight=False)
    errors.print(" · ".join(f"{name} {value}" for name, value in machine().items()), style="dim")
    errors.print(f"seed {options.seed}: {options.turns} turns, {options.kills} faults")
    faults = plan(options.seed, options.turns, options.kills)
    task = Task(
        seed=options.seed,
        turns=options.turns,
        faults=faults,
        settings=options.set,
        bad_workers=tuple(KINDS) if options.bad_workers else (),
        keep=options.keep,
        tell=errors.print,
    )
    try:
        outcome = run(task)
    except (BenchError, EarshotError) as error:
        errors.print(f"error: {error}", style="red", markup=False)
        return 2
    Console(highlight=False).print(table(outcome, box.MARKDOWN if options.markdown else box.SIMPLE))
    for line in _lines(outcome, options):
        print(line)
    if options.json:
        options.json.write_text(json.dumps(as_json(outcome, about), indent=2, ensure_ascii=False) + "\n")
    return 1 if outcome.findings else 0


def _lines(outcome: Outcome, options: argparse.Namespace) -> list[str]:
    totals = " · ".join(f"{what} {count}" for what, count in counts(outcome.findings).items())
    lines = [
        f"{outcome.turns} turns, {len(outcome.strikes)} faults hit, {len(outcome.missed)} missed, {outcome.took_s:.0f} s "
        f"({outcome.calm_s_per_turn:.2f} s a turn without faults); "
        f"the slowest stream, {outcome.slowest.stream}, took {outcome.slowest.took_s:.0f} s",
        f"utterances: {totals} · audio gaps {outcome.events.get('audio.gap', 0)}",
    ]
    times_ms = promised(outcome.strikes)
    if times_ms:
        p50_ms = percentile(times_ms, 50)
        verdict = "as promised" if p50_ms <= RECOVERY_GOAL_MS else f"more than the {RECOVERY_GOAL_MS:.0f} ms promised"
        lines.append(f"recovery p50 {p50_ms:.0f} ms after {len(times_ms)} kills of actors without a model: {verdict}")
    for finding in outcome.findings[:MOST_FINDINGS]:
        lines.append(f"{finding.what}: {finding.stream} utterance {finding.number}: {finding.detail}")
    if outcome.evidence:
        lines.append(f"evidence: {outcome.evidence}")
    arguments = ["--bad-workers"] * options.bad_workers + [f"--set {setting}" for setting in options.set]
    more = f' ARGS="{" ".join(arguments)}"' if arguments else ""
    lines.append(f"again: make chaos SEED={options.seed} TURNS={options.turns} KILLS={options.kills}{more}")
    return lines


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Kill, stop and hang the processes of an assistant in its turns.")
    parser.add_argument("--seed", type=int, default=None, help="the same seed draws the same faults; without it a new one is taken")
    parser.add_argument("--turns", type=_turns, default=160, help=f"utterances to be said, a multiple of {SCRIPT_TURNS}")
    parser.add_argument("--kills", type=int, default=None, help="faults to be struck; as many as turns")
    parser.add_argument("--bad-workers", action="store_true", help=f"run bad transcribers beside the real ones: {', '.join(KINDS)}")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting, such as speaker.pace=real")
    parser.add_argument("--keep", action="store_true", help="keep logs, events and spool of a run without findings too")
    parser.add_argument("--markdown", action="store_true", help="draw the table for a page of the documentation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    options.seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    options.kills = options.turns if options.kills is None else options.kills
    return options


def _turns(text: str) -> int:
    turns = int(text)
    if turns < SCRIPT_TURNS:
        raise argparse.ArgumentTypeError(f"at least {SCRIPT_TURNS}")
    return turns // SCRIPT_TURNS * SCRIPT_TURNS


if __name__ == "__main__":
    sys.exit(main())
