"""Crash points: one peer of four dies before, and after, every durable write of a whole run. Law: no double sign, no
lost decision.

`python -m tests.sim.crash [--heights N] [--every K]` prints how many points were tried. The run has round changes: the
first proposer of some heights is cut off for a while, so votes of later rounds are among the writes.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import structlog

from tests.sim.peer import WriteFault
from tests.sim.run import DISK, Run
from tests.sim.scenario import Scenario

HEIGHTS = 20
CUT_EVERY_MS, CUT_MS = 2500, 1200
LIMIT_MS = 120_000
SCENARIO = Scenario(seed=7, weights=(1, 1, 1, 1), epoch_blocks=6, traffic=6, chaos_ms=0)


class CrashRun(Run):
    """Four honest peers, no chaos but one fault of one peer and a rhythm of cuts."""

    def play(self, fault: WriteFault | None, victim: int, heights: int) -> int:
        """The victim's number of writes. Raises Violation."""
        world = self.world
        if fault is not None:
            self.peers[victim].next_fault = fault
        for peer in self.peers:
            world.at(0, peer.start)
        for number in range(1, 20):
            self._cut(number * CUT_EVERY_MS, number % 4)
        try:
            done = world.run(LIMIT_MS, lambda: all(p.alive and p.chain.height() >= heights for p in self.peers))
            assert done, f"termination: {[p.chain.height() if p.alive else None for p in self.peers]}"
            self.checks.end(self.honest)
            self._replay_equals_run()
            return self.peers[victim].writes()
        finally:
            for peer in self.peers:
                peer.stop()

    def _cut(self, time_ms: int, number: int) -> None:
        pairs = {(number, p.number) for p in self.peers} | {(p.number, number) for p in self.peers}
        links = self.world.links
        self.world.at(time_ms, lambda: setattr(links, "cut", links.cut | pairs))
        self.world.at(time_ms + CUT_MS, lambda: setattr(links, "cut", links.cut - pairs))


def play(fault: WriteFault | None, heights: int = HEIGHTS, victim: int = 1) -> tuple[int, int]:
    """(writes of the victim, worst round decided)."""
    with tempfile.TemporaryDirectory(dir=DISK, prefix="folkmoot-crash-") as folder:
        run = CrashRun(SCENARIO, Path(folder), None)
        return run.play(fault, victim, heights), max(run.checks.rounds.values())


def leave_store(directory: Path, heights: int = 4) -> None:
    """Peer 1's files after a short run, as DIR/data and DIR/node.key.used."""
    with tempfile.TemporaryDirectory(dir=DISK) as folder:
        run = CrashRun(SCENARIO, Path(folder), None)
        run.play(None, 1, heights)
        for part in (Path(folder) / "1").iterdir():
            (shutil.copytree if part.is_dir() else shutil.copy)(part, directory / part.name)


def _point(job: tuple[int, str, int]) -> str:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    at, kind, heights = job
    try:
        play(WriteFault(at, kind), heights)
    except Exception as error:  # whatever goes wrong at one point is a finding of this point
        return f"crash {kind} write {at}: {type(error).__name__}: {error}"
    return ""


def points(heights: int, every: int, jobs: int) -> tuple[int, int, list[str]]:
    """(points tried, worst round of the undisturbed run, violations)."""
    writes, worst = play(None, heights)
    work = [(at, kind, heights) for at in range(1, writes + 1, every) for kind in ("before", "after", "full")]
    with get_context("fork").Pool(jobs) as pool:
        found = pool.map(_point, work, chunksize=4)
    return len(work), worst, [text for text in found if text]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.crash", description=__doc__)
    parser.add_argument("--heights", type=int, default=HEIGHTS)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    started = time.monotonic()
    tried, worst, wrong = points(options.heights, options.every, options.jobs)
    for text in wrong:
        print(text)
    print(
        f"crash points {tried} over {options.heights} heights "
        f"(before, after, refused at each write; rounds up to {worst}), {time.monotonic() - started:.0f} s, "
        f"violations {len(wrong)}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
