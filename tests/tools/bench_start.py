"""What it costs to start a command: CPU seconds beside `python -c pass`, and how many modules are loaded.

`python -m tests.tools.bench_start [--runs N] [--check]`: the least of N runs each, since whatever else runs on a
machine only adds. --check: exit status 1 where a light command needs more than GOAL_S.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

GOAL_S = 0.3
LIGHT = (
    ("--help",), ("help", "money"), ("help", "json", "ask"), ("status", "--dir", "/nonexistent"),
    ("peers", "--dir", "/nonexistent"), ("account", "show", "--help"), ("account", "show", "--dir", "/nonexistent"),
    ("ask", "--help"), ("chat", "--help"), ("top", "--dir", "/nonexistent"), ("completion", "words", "ask", "--"),
    ("block", "1", "--dir", "/nonexistent"), ("ml", "list", "--dir", "/nonexistent"),
)
_COUNT = "import sys; sys.argv[0]='folkmoot'\nfrom p2p.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
_SAY = "print(len(sys.modules), file=sys.__stderr__)"


def cpu_s(argv: list[str], runs: int) -> float:
    """User and system time of the cheapest run."""
    found = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(found)


def modules(words: tuple[str, ...]) -> int:
    """Modules that are loaded when the command has ended."""
    done = subprocess.run(
        [sys.executable, "-c", _COUNT + _SAY, *words], capture_output=True, text=True, check=True,
    )
    return int(done.stderr.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--check", action="store_true", help=f"fail above {GOAL_S} s")
    options = parser.parse_args()
    nothing = cpu_s([sys.executable, "-c", "pass"], options.runs)
    print(f"{'command':<44}{'CPU s':>8}{'without Python':>16}{'modules':>9}")
    print(f"{'python -c pass':<44}{nothing:>8.3f}{0:>16.3f}")
    worst = 0.0
    for words in LIGHT:
        took = cpu_s([sys.executable, "-m", "p2p", *words], options.runs)
        worst = max(worst, took)
        print(f"{'folkmoot ' + ' '.join(words):<44}{took:>8.3f}{took - nothing:>16.3f}{modules(words):>9}")
    print(f"the slowest needs {worst:.3f} s of {GOAL_S} s")
    return int(options.check and worst > GOAL_S)


if __name__ == "__main__":
    sys.exit(main())
