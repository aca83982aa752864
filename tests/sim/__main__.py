"""`python -m tests.sim --seeds N [--first F]`: many runs; `--seed S --trace`: one, readable. Exit code 1 when a
property was broken.

A failing seed is shrunk, and the one command that replays it is printed. `--audit` prints each seed's audit hash.
"""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import structlog

from p2p.base.errors import FolkmootError
from tests.sim.run import Report, run
from tests.sim.scenario import Scenario, draw, with_settings

Failure = tuple[int, str]
SHRINK_TRIES = 60


def attempt(scenario: Scenario) -> Report | str:
    """The report of one run, or the sentence that says what was broken."""
    try:
        return run(scenario)
    except (
        AssertionError, FolkmootError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError
    ) as error:
        return f"{type(error).__name__}: {error}"


def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    gc.disable()  # a run makes few cycles, and the worker collects between runs


def _one(scenario: Scenario) -> tuple[int, Report | str]:
    found, seed = attempt(scenario), scenario.seed
    if seed % 64 == 0:
        gc.collect()
    return seed, found


def shrink(scenario: Scenario) -> Scenario:
    """A simpler scenario that still fails: leaves out one thing after another while it does."""
    tries, best = 0, scenario
    while tries < SHRINK_TRIES:
        for candidate in best.simpler():
            tries += 1
            if isinstance(attempt(candidate), str):
                best = candidate
                break
            if tries >= SHRINK_TRIES:
                return best
        else:
            return best
    return best


def scenarios(options: argparse.Namespace) -> Iterator[Scenario]:
    for seed in range(options.first, options.first + options.seeds):
        yield draw(seed, too_many=options.too_many, peers=options.peers)


def results(work: Iterator[Scenario], jobs: int) -> Iterator[tuple[int, Report | str]]:
    if jobs == 1:
        _quiet()
        yield from map(_one, work)
        return
    with multiprocessing.get_context("fork").Pool(jobs, initializer=_quiet) as pool:
        yield from pool.imap_unordered(_one, work, chunksize=4)


def mix(scenarios: Iterator[Scenario]) -> Counter[str]:
    """How many of the scenarios had each kind of trouble."""
    seen: Counter[str] = Counter()
    for s in scenarios:
        troubles = (
            "loss", "duplicate", "straggle", "crashes", "write_faults", "partitions", "late", "slow", "skew_ms",
            "jumps", "drift_ppm", "wrong", "traffic", "changes",
        )
        seen.update(name for name in troubles if getattr(s, name))
        seen.update({name for _, name in s.villains})
    return seen


def many(options: argparse.Namespace) -> int:
    started, failures, heights, worst, disagreed, punished = time.monotonic(), list[Failure](), 0, 0, 0, 0
    for done, (seed, found) in enumerate(results(scenarios(options), options.jobs), 1):
        if isinstance(found, str):
            failures.append((seed, found))
            print(f"seed {seed}: {found}", flush=True)
            if options.fail_fast:
                return 1
        else:
            heights, worst = heights + found.height, max(worst, found.worst_round)
            disagreed, punished = disagreed + found.disagreed, punished + bool(found.punished)
            if options.audit:
                print(f"seed {seed} audit {found.audit}")
        if done % 1000 == 0:
            spent_s = time.monotonic() - started
            words = f"  {done} of {options.seeds} seeds, {spent_s:.0f} s, {len(failures)} violations"
            print(words, file=sys.stderr, flush=True)
    if failures:
        _explain(min(failures), options)
    chances = mix(scenarios(options))
    print("scenarios with " + ", ".join(f"{name} {count}" for name, count in sorted(chances.items())))
    print(
        f"seeds {options.first}..{options.first + options.seeds - 1}: {heights} heights decided, worst round {worst}, "
        f"{punished} runs punished somebody, {disagreed} disagreements, {time.monotonic() - started:.0f} s, "
        f"violations {len(failures)}"
    )
    return 1 if failures else 0


def _explain(failure: Failure, options: argparse.Namespace) -> None:
    seed, sentence = failure
    _quiet()
    full = draw(seed, too_many=options.too_many, peers=options.peers)
    small = shrink(full)
    extra = (" --too-many" if options.too_many else "") + (f" --peers {options.peers}" if options.peers else "")
    print(f"first failing seed {seed}: {sentence}\nshrunk to {small}")
    print(f"replay it:  python -m tests.sim --seed {seed}{extra} --trace {small.settings(full)}")


def single(options: argparse.Namespace) -> int:
    _quiet()
    scenario = with_settings(draw(options.seed, too_many=options.too_many, peers=options.peers), options.set)
    print(scenario)
    try:
        report = run(scenario, trace=print if options.trace else None)
    except AssertionError as error:
        print(f"VIOLATION {error}")
        return 1
    print(replace(report) if options.trace else report)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--too-many", action="store_true", help="a third or more are faulty: safety must be seen to break"
    )
    parser.add_argument("--peers", type=int, default=0, help="only sets of this size; 0: 4 to 20, as the seed says")
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first violation, without shrinking it")
    parser.add_argument("--audit", action="store_true")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="KNOB=VALUE")
    parser.add_argument("--trace", action="store_true")
    options = parser.parse_args()
    return single(options) if options.seed is not None else many(options)


if __name__ == "__main__":
    sys.exit(main())
