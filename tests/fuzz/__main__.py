"""`python -m tests.fuzz --seed N --messages N`: attack a real assistant, and print what came of it."""

from __future__ import annotations

import argparse
import sys

from tests.fuzz.attack import attack, victim


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--messages", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with victim() as running:
        report = attack(running, arguments.seed, arguments.messages)
    print(f"seed {report.seed}: {report.said} messages in {report.seconds:.0f} s\n")
    print(f"{'socket':<14}{'kind':<20}{'said':>9}{'bad':>9}")
    for socket, kind, said, bad in report.rows:
        print(f"{socket:<14}{kind:<20}{said:>9}{bad:>9}")
    print(f"\n{'counted by':<20}{'bad':>9}{'perhaps':>9}{'counted':>9}")
    for who, (bad, perhaps, counted) in report.counted.items():
        print(f"{who:<20}{bad:>9}{perhaps:>9}{counted:>9}")
    print(f"\n{'resident, MB':<20}{'before':>9}{'after':>9}")
    for actor, (before, after) in report.memory_bytes.items():
        print(f"{actor:<20}{before / 1e6:>9.0f}{after / 1e6:>9.0f}")
    for name, text in report.others.items():
        print(f"{name}: {text}")
    for what in ("restarted", "miscounted", "grown"):
        print(f"{what}: {', '.join(getattr(report, what)) or 'nobody'}")
    print(f"a sentence afterwards: {report.reply}")
    return 1 if report.restarted or report.grown or report.miscounted else 0


if __name__ == "__main__":
    sys.exit(main())
