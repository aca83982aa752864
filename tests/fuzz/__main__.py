"""Sends N mutated messages to the checks of the verified path: `python -m tests.fuzz --count N [--seed S] [--jobs J]`.

`--seed S --case TARGET:NUMBER` shows one case and judges it again.

Exit code 1 when a changed message was accepted, or when a check raised anything but a typed error. The last lines are
the summary.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator

from tests.fuzz.run import BAD, Tally, case, judge, stretch, table
from tests.fuzz.targets import targets

CHUNK = 2000
SHOWN = 20


def _stretch(work: tuple[int, int, int]) -> Tally:
    return stretch(*work)


def results(seed: int, count: int, jobs: int) -> Iterator[Tally]:
    work = [(seed, first, min(CHUNK, count - first)) for first in range(0, count, CHUNK)]
    if jobs == 1:
        yield from map(_stretch, work)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(_stretch, work)


def replay(seed: int, name: str) -> int:
    target_name, _, number = name.partition(":")
    target = targets()[target_name]
    at, parts = case(seed, target, int(number))
    outcome = judge(target, at, parts)
    for before, after in zip(target.originals[at], parts, strict=True):
        print(f"original {before.hex()}\nmutated  {after.hex()}")
    print(f"{name} from original {at}: {outcome.fate} {outcome.why}")
    return 1 if outcome.fate in BAD else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None, help="drawn and printed when not given")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--case", default="", help="TARGET:NUMBER")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    if options.case:
        return replay(seed, options.case)
    print(f"seed {seed}, {options.count} inputs, {options.jobs} processes", flush=True)
    targets()  # once, before the processes are forked
    started, done, tally = time.monotonic(), 0, Tally()
    step = max(options.count // 20, CHUNK)
    for part in results(seed, options.count, options.jobs):
        tally.add(part)
        for target, number, why in part.bad[: max(SHOWN - len(tally.bad) + len(part.bad), 0)]:
            print(f"{why}\n  again: python -m tests.fuzz --seed {seed} --case {target}:{number}", flush=True)
        before, done = done, sum(tally.counts.values())
        if done // step > before // step:
            took, bad = time.monotonic() - started, len(tally.bad)
            print(f"  {done} of {options.count}, {took:.0f} s, {bad} bad", file=sys.stderr, flush=True)
    took = time.monotonic() - started
    slowest_s, slowest = tally.slowest
    print(f"seed {seed}: {done} inputs in {took:.0f} s, slowest {slowest_s * 1000:.1f} ms of CPU ({slowest})")
    print("\n".join(table(tally)))
    return 1 if tally.bad else 0


if __name__ == "__main__":
    sys.exit(main())
