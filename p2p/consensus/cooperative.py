"""Long work between the turns of all other tasks. Law: a stretch is SLICE_S by the clock, so that a slow machine rests as often as a quick one;
it ends between two steps, never in one (decision 026).
"""

from __future__ import annotations

from contextlib import closing
from time import perf_counter
from typing import TypeVar

import trio

from p2p.base.limits import SLICE_S
from p2p.base.resumable import Resumable

T = TypeVar("T")


async def patiently(work: Resumable[T], *, slice_s: float = SLICE_S) -> T:
    """Run `work` to its end, with a turn for all other tasks after each stretch. When cancelled, the work is closed where it is."""
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
