"""`make mutants`: removes one safeguard at a time and sees a test fail.

Law: a mutant that survives is a hole in the tests.

Each mutant is one replacement in one file of a copy of the tree. The test that killed it the last time is tried first,
then the tests of its file, the unit tests, conformance and the simulation, until one fails. At the end all that killed
must pass with nothing changed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

from tests.tools.mutants.killing import kill, liars, remember, remembered
from tests.tools.mutants.table import MUTANTS, Mutant


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=400, help="of the simulation (default: %(default)s)")
    parser.add_argument("--only", default="", help="a part of the names of the mutants to try (default: all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at once (default: a processor each)")
    options = parser.parse_args()
    killers, survivors, known = {}, [], remembered()
    # those without a killer that is known take longest
    wanted = sorted((mutant for mutant in MUTANTS if options.only in mutant.name), key=lambda one: one.name in known)

    def one(mutant: Mutant) -> tuple[str, float]:
        started = time.monotonic()
        return kill(mutant, options.seeds, known.get(mutant.name, "")), time.monotonic() - started

    with ThreadPoolExecutor(options.jobs) as pool:
        tasks = {pool.submit(one, mutant): mutant.name for mutant in wanted}
        for number, task in enumerate(as_completed(tasks), 1):
            name, (killer, took_s) = tasks[task], task.result()
            print(f"{number:3}/{len(wanted)} {took_s:5.0f} s  {name}: {killer or 'SURVIVES'}", flush=True)
            if not killer:
                survivors.append(name)
                continue
            killers[name] = killer
            if killer != known.get(name):
                known[name] = killer
                remember(known)
    wrong = liars(set(killers.values()))
    for killer in wrong:
        survivors += [name for name, its in killers.items() if its == killer]
        print(f"{killer} fails with nothing changed: of what it killed nothing can be said")
    if not wrong:
        print(f"nothing changed: the {len(set(killers.values()))} tests that killed pass")
    names = f"; not killed: {', '.join(survivors)}" if survivors else ""
    print(f"{len(wanted) - len(survivors)} of {len(wanted)} mutants killed{names}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
