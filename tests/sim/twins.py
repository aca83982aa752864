"""Twins (Bano et al., arXiv 2004.10617): Byzantine behaviour made of honest code. Some keys run twice; each period of
the chaotic phase splits all instances into groups that hear only themselves, so the two copies of a key say different
things to different peers.

`python -m tests.sim.twins --cases N [--first F]`. Law: weighted sets of 4 to 7, twins below a third; then the network
heals.
"""

from __future__ import annotations

import argparse
import gc
import logging
import random
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import structlog

from p2p.base.errors import FolkmootError
from tests.sim.run import DISK, Report, Run
from tests.sim.scenario import Scenario

PERIODS = 5
PERIOD_MS = 700  # about one round


def draw(case: int) -> Scenario:
    """Set and twins of a case."""
    rng = random.Random(f"twins {case}")
    while True:
        count = rng.randint(4, 7)
        weights = tuple(1 if rng.random() < 0.5 else rng.randint(1, 4) for _ in range(count))
        twins = rng.sample(range(count), rng.choice((1, 1, 2)))
        scenario = Scenario(
            case, weights, tuple((number, "twin") for number in twins), chaos_ms=PERIODS * PERIOD_MS, latency_ms=20
        )
        if scenario.is_safe():
            return scenario


class TwinsRun(Run):
    """Another partition each period; now and then nobody is cut off."""

    def _chaos(self) -> None:
        for peer in self.peers:
            self.world.at(0, peer.start)
        for period in range(PERIODS):
            self.world.at(period * PERIOD_MS, self._split)
        self.world.run(self.scenario.chaos_ms)

    def _split(self) -> None:
        rng = self.world.rng
        groups = rng.choice((1, 2, 2, 2, 3))
        side = {peer.number: rng.randrange(groups) for peer in self.peers}
        self.world.note(f"groups {[side[p.number] for p in self.peers]}")
        self.world.links.cut = {(a, b) for a in sorted(side) for b in sorted(side) if side[a] != side[b]}


def play(case: int) -> Report:
    with tempfile.TemporaryDirectory(dir=DISK, prefix="folkmoot-twins-") as folder:
        return TwinsRun(draw(case), Path(folder), None).go()


def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    gc.disable()


def _one(case: int) -> tuple[int, Report | str]:
    if case % 64 == 0:
        gc.collect()
    try:
        return case, play(case)
    except (AssertionError, FolkmootError) as error:
        return case, f"{type(error).__name__}: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.twins", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    started, wrong, heights, punished = time.monotonic(), 0, 0, 0
    with get_context("fork").Pool(options.jobs, initializer=_quiet) as pool:
        for done, (case, found) in enumerate(
            pool.imap_unordered(_one, range(options.first, options.first + options.cases), chunksize=4), 1
        ):
            if done % 1000 == 0:
                spent_s = time.monotonic() - started
                print(f"  {done} of {options.cases} cases, {spent_s:.0f} s", file=sys.stderr, flush=True)
            if isinstance(found, str):
                wrong += 1
                print(f"case {case}: {found}", flush=True)
            else:
                heights, punished = heights + found.height, punished + bool(found.punished)
    print(
        f"twins cases {options.first}..{options.first + options.cases - 1}: {heights} heights decided, "
        f"{punished} runs punished a twin, {time.monotonic() - started:.0f} s, violations {wrong}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
