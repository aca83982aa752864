"""`make redteam`: every stranger in turn, each against a network of its own, and an undisturbed run to compare with.

    python -m tests.redteam [--only NAME,...] [--seconds S] [--dir DIR]

Exit code 1 when one of them did harm.
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
    f"{'attack':24}{'heights/s':>16}{'ratio':>7}{'answered':>14}{'ratio':>7}{'worst s':>14}{'RSS MiB':>12}{'ratio':>7}"
    f"{'after':>7}  honest harmed"
)


def row(found: Outcome) -> str:
    """One line of the table: each figure as quiet > under attack."""
    rate, answered, memory = found.ratios()
    quiet, during = found.quiet, found.during
    after = found.after.rate / quiet.rate if quiet.rate else 0.0
    return (
        f"{found.name:24}{f'{quiet.rate:.2f} > {during.rate:.2f}':>16}{rate:7.2f}"
        f"{f'{quiet.answered:.2f} > {during.answered:.2f}':>14}{answered:7.2f}"
        f"{f'{quiet.worst_s:.1f} > {during.worst_s:.1f}':>14}{f'{quiet.rss >> 20} > {during.rss >> 20}':>12}"
        f"{memory:7.2f}{after:7.2f}  {'; '.join(found.harmed) or '-'}{'' if found.held() else '   <- MISSED'}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.redteam", description=__doc__)
    parser.add_argument("--only", default="", help=f"names with commas between them (default: all): {', '.join(NAMES)}")
    parser.add_argument(
        "--seconds", type=float, default=20.0,
        help="length of each window: quiet, under attack, after (default: %(default)s)",
    )
    parser.add_argument("--dir", type=Path, help="keep the networks' folders here (default: a temporary folder)")
    options = parser.parse_args()
    wanted = [name for name in options.only.split(",") if name] or ["", *NAMES]
    started, held, rows = time.monotonic(), True, []
    with tempfile.TemporaryDirectory(prefix="folkmoot-redteam-") as folder:
        for name in wanted:
            shown = name or "undisturbed"
            cheat = getattr(import_module(f"tests.redteam.strangers.{name}"), "CHEAT", "") if name else ""

            def say(text: str, shown: str = shown) -> None:
                print(f"[{time.monotonic() - started:5.0f} s] {shown}: {text}", file=sys.stderr, flush=True)

            found = run(name, (options.dir or Path(folder)) / shown, options.seconds, say, cheat=cheat)
            rows.append(row(found))
            if found.deeds:
                say(", ".join(f"{what} {count}" for what, count in sorted(found.deeds.items())))
            for error, count in found.during.errors.most_common(3):
                say(f"{count} of {found.during.asked} questions of the honest client failed: {error}")
            held &= found.held()
            say("held" if found.held() else "MISSED")
    print(f"windows of {options.seconds:.0f} s: quiet > under attack")
    print(
        f"goals: ratios of rate and answers >= {GOODPUT}, memory <= {MEMORY}, nobody harmed, the same after "
        f"{RECOVER_S:.0f} s"
    )
    print(HEAD)
    print("\n".join(rows))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
