"""Long work that lets other tasks run in between. Law: a slice is SLICE_S by the clock and ends between two steps
(decision 026).

Slices are measured by the clock, not in steps, so other tasks wait equally long on a slow machine and a fast one.
"""

from __future__ import annotations

from contextlib import closing
from time import perf_counter
from typing import TypeVar

import trio

from p2p.base.limits import SLICE_S
from p2p.base.steps import Steps

T = TypeVar("T")


async def run_cooperatively(steps: Steps[T], *, slice_s: float = SLICE_S) -> T:
    """Run `steps` to their end and let other tasks run after each slice of slice_s seconds. When cancelled, the
    steps end where they are."""
    with closing(steps):
        since = perf_counter()
        while True:
            try:
                next(steps)
            except StopIteration as done:
                result: T = done.value
                return result
            if perf_counter() - since >= slice_s:
                await trio.lowlevel.checkpoint()
                since = perf_counter()
