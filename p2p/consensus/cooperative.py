"""Long work between the turns of all other tasks. Law: a stretch is SLICE_S by the clock, so that a slow machine rests as often as a quick one;
it ends between two steps, never in one (decision 026).
"""

from __future__ import annotations

from contextlib import closing
from time import perf_counter
from typing import TypeVar

import trio

from p2p.base.limits import SLICE_S
from p2p.base.steps import Steps

T = TypeVar("T")


async def patiently(steps: Steps[T], *, slice_s: float = SLICE_S) -> T:
    """Drive `steps` to their end, with a turn for everybody else after each stretch. Cancelled: they end where they are."""
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
