"""`python -m tests.ledger.soak --transactions N [--seed S] [--jobs J]`: N random records against the real application.

The chains and their stores are real: each block's batches go through the mempool, `validate` and `finalize`, so
signatures, rules, state tree and receipts are those of every peer. A record counts as one transaction, because the
ledger accepts or refuses each by itself; a batch that is refused as a whole counts as one too. About a quarter is wrong
on purpose. Each epoch begins with a sprint, so weights and validators change.

Checked after every block: money is conserved, values are within bounds, a refused record left no trace. Checked where
weights are counted: no answer of the sprint is undecided. Checked after every epoch: its sums, and all totals against
the whole state. At the end the blocks are applied again in a process with another PYTHONHASHSEED, and those after the
middle on a snapshot. With J processes each makes N / J records from its own seed. Exit code 1 when anything was
violated; then the last line says how to repeat it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.ledger.soak.replay import replay
from tests.ledger.soak.run import Tally, run
from tests.ledger.soak.watch import Violation


def one(work: tuple[int, int, str]) -> Tally | None:
    """Run one seed in a folder below the given one; None when something was violated, which is printed."""
    seed, count, below = work
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"  seed {seed}: {time.monotonic() - started:.0f} s: {text}", flush=True)

    with tempfile.TemporaryDirectory(prefix="folkmoot-soak-", dir=below or None) as folder:
        try:
            tally = run(seed, count, Path(folder), say)
        except Exception as error:  # any error must be repeatable
            if not isinstance(error, Violation):
                traceback.print_exc()
            print(f"VIOLATION {type(error).__name__}: {error}", flush=True)
            print(f"  again: make ledger-soak TRANSACTIONS={count} SEED={seed}", flush=True)
            return None
    print(f"seed {seed}: {describe(tally)}; {time.monotonic() - started:.0f} s, of CPU {_cpu_s():.0f}", flush=True)
    return tally


def describe(tally: Tally) -> str:
    applied, meant_refused = sum(tally.applied.values()), sum(tally.meant_refused.values())
    return "; ".join((
        f"{tally.records} transactions: {applied} applied ({_row(tally.applied)})",
        f"{tally.records - applied} refused ({_row(tally.refused)}; whole batches: {_row(tally.batches_refused)})",
        f"{meant_refused} of {tally.meant} that were meant well were refused",
        f"inferences ended: {_row(tally.statuses)}",
        f"all bytes compared after {tally.compared} refusals",
        f"{tally.heights} heights, {tally.epochs} epochs, app hash {tally.app_hash[:16]}",
    ))


def _cpu_s() -> float:
    """CPU seconds of this process and of those it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _row(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {counts[name]}" for name in sorted(counts)) or "none"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.ledger.soak", description=__doc__)
    parser.add_argument("--transactions", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None, help="drawn and printed when not given")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--below", default="", help="folder for the stores; the system's temporary one when left out")
    parser.add_argument(
        "--replay", nargs=2, type=Path, metavar=("SOURCE", "TARGET"), help="internal: the replay in another process",
    )
    options = parser.parse_args()
    if options.replay:
        print(replay(*options.replay))
        return 0
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}, {options.transactions} transactions, {options.jobs} processes", flush=True)
    started = time.monotonic()
    work = [(seed + at, options.transactions // options.jobs, options.below) for at in range(options.jobs)]
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("fork")) as pool:
        tallies = list(pool.map(one, work))
    good = [tally for tally in tallies if tally is not None]
    records, applied = sum(t.records for t in good), sum(sum(t.applied.values()) for t in good)
    print(
        f"seed {seed}: {records} transactions, {applied} applied, {records - applied} refused, "
        f"{sum(t.heights for t in good)} heights, {sum(t.epochs for t in good)} epochs, "
        f"{len(tallies) - len(good)} violations, {time.monotonic() - started:.0f} s", flush=True,
    )
    return 1 if len(good) < len(tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
