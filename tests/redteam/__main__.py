"""`make redteam`, or `python -m tests.redteam [--only NAME,...] [--seconds S] [--dir DIR]`: every stranger in turn,
each against a network of five real peers of its own, and the undisturbed run beside them. Exit code 1 when one of them
hurt.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from tests.redteam.strangers import NAMES
from tests.redteam.trial import GOODPUT, MEMORY, RECOVER_S, Outcome, run

HEAD = (
    f"{'attack':24}{'heights/s':>16}{'ratio':>7}{'answered':>14}{'ratio':>7}{'worst s':>14}{'RSS MiB':>12}{'ratio':>7}{'after':>7}  honest harmed"
)


def row(found: Outcome) -> str:
    rate, answered, memory = found.ratios()
    quiet, during, after = found.quiet, found.during, found.after
    return (
        f"{found.name:24}{f'{quiet.rate:.2f} > {during.rate:.2f}':>16}{rate:7.2f}{f'{quiet.answered:.2f} > {during.answered:.2f}':>14}{answered:7.2f}"
        f"{f'{quiet.worst_s:.1f} > {during.worst_s:.1f}':>14}{f'{quiet.rss >> 20} > {during.rss >> 20}':>12}{memory:7.2f}"
        f"{after.rate / quiet.rate if quiet.rate else 0.0:7.2f}  {'; '.join(found.harmed) or '-'}{'' if found.held() else '   <- MISSED'}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.redteam", description=__doc__)
    parser.add_argument("--only", default="", help=f"names, with commas; there are {', '.join(NAMES)}")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each window: quiet, attack, after")
    parser.add_argument("--dir", type=Path, default=None, help="keep the networks' folders here")
    options = parser.parse_args()
    wanted = [name for name in options.only.split(",") if name] or ["", *NAMES]
    started, held, rows = time.monotonic(), True, []
    with tempfile.TemporaryDirectory(prefix="folkmoot-redteam-") as folder:
        for name in wanted:
            cheat = getattr(import_module(f"tests.redteam.strangers.{name}"), "CHEAT", "") if name else ""

            def say(text: str, name: str = name) -> None:
                print(
                    f"[{time.monotonic() - started:5.0f} s] {name or 'undisturbed'}: {text}", file=sys.stderr,
                    flush=True
                )

            found = run(
                name, (options.dir or Path(folder)) / (name or "undisturbed"), options.seconds, say, cheat=cheat
            )
            rows.append(row(found))
            if found.deeds:
                say(", ".join(f"{what} {count}" for what, count in sorted(found.deeds.items())))
            held &= found.held()
            say("held" if found.held() else "MISSED")
    print(f"windows of {options.seconds:.0f} s: quiet > under attack")
    print(f"goals: ratios of rate and answers >= {GOODPUT}, memory <= {MEMORY}, nobody harmed, the same after {RECOVER_S:.0f} s")
    print(HEAD)
    print("\n".join(rows))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
