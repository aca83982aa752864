"""The engine of a peer that has other things to do. Law: a block is checked and applied between the turns of all other tasks; what comes
meanwhile waits in the queue, in order.

A stretch of work is SLICE_S by the clock, so that a slow machine rests as often as a quick one; it ends between two steps, never in one.
"""

from __future__ import annotations

from contextlib import closing
from time import perf_counter
from typing import TypeVar

import trio

from p2p.consensus.engine import Engine
from p2p.consensus.events import Input
from p2p.limits import SLICE_S
from p2p.steps import Steps

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


class PatientEngine(Engine):
    async def run(self) -> None:
        """As Engine.run, which does each input at a stretch."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._carry_out(nursery, await patiently(self.driver.begin_steps()))
            async for event, done in self._receive:
                await self._carry_out(nursery, await patiently(self.driver.take_steps(event)))
                if done is not None:
                    done.set()

    async def _inject(self, event: Input) -> None:
        """However long it takes: time goes on while a block is applied, and who brought it must not seem to have lied."""
        done = trio.Event()
        await self._send.send((event, done))
        await done.wait()
