"""Long work that lets other tasks run in between. Law: a slice is SLICE_S by the clock and ends between two parts
(decision 026).

Slices are measured by the clock, not in parts, so other tasks wait equally long on a slow machine and a fast one.
"""

from __future__ import annotations

from contextlib import closing
from time import perf_counter
from typing import TypeVar

import trio

from p2p.base.limits import SLICE_S
from p2p.base.resumable import Resumable

T = TypeVar("T")


async def run_cooperatively(work: Resumable[T], *, slice_s: float = SLICE_S) -> T:
    """Run `work` to its end and let other tasks run after each slice of slice_s seconds. When cancelled, the work is
    closed where it is."""
    with closing(work):
        since = perf_counter()
        while True:
            try:
                next(work)
            except StopIteration as done:
                result: T = done.value
                return result
            if perf_counter() - since >= slice_s:
                await trio.lowlevel.checkpoint()
                since = perf_counter()
