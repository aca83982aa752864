"""What N participants cost the ledger: its state, a draw, a committee, and the end of a busy epoch.

Law: one size is one process of its own; what is measured, and on what, is in `ledger.py`.
"""

from __future__ import annotations

import math
from multiprocessing import get_context
from typing import NamedTuple

from tests.tools.scale.lifted import lift_participants

SIZES = (100, 1000, 3000, 10_000, 100_000)


class Row(NamedTuple):
    """Bytes and CPU. NaN: not run at this size."""

    participants: int
    state: int  # bytes of keys and values, without inferences
    tree: int  # bytes of the state tree's pages
    proof: float  # bytes of a participant's place in the tree, mean
    serving: int  # bytes of a model's serving set
    prepare_ms: float  # to make a draw of validators ready: once in each block that draws one
    draw_us: float  # to draw eight executors
    open_us: float  # to draw a committee for an answer
    close_us: float  # to end it, when all have said 'valid'
    settle_ms: float  # an epoch's end: money
    conduct_ms: float  # counters and reputation
    sprint_ms: float  # weights from a sprint's answers, four of each participant
    sets_ms: float  # prices and serving sets
    tree_ms: float  # what the epoch's end changed, into the tree
    snapshot_ms: float
    snapshot: int  # bytes
    chunks: int

    @property
    def end_ms(self) -> float:
        """An epoch's end, as far as it was run."""
        parts = (self.settle_ms, self.conduct_ms, self.sprint_ms, self.sets_ms, self.tree_ms, self.snapshot_ms)
        return sum(part for part in parts if not math.isnan(part))


def _run(count: int) -> Row:
    lift_participants(count)
    from tests.tools.scale.ledger import measure_here

    return measure_here(count)


def measure(count: int) -> Row:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (count,))
