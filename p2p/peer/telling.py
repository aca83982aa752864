"""An executor's side of one `infer` stream.

Law: one frame at a time, and never silent while the executor works: without a word in between nobody could tell a slow
executor from a dead one, and the agent asks the next one after a second of silence.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from p2p.base.errors import FolkmootError
from p2p.base.limits import EXECUTOR_SILENT_S, WORKING_EVERY_S
from p2p.machine.deadlines import strain
from p2p.wire.frames import Frame, Working, pack_frame

if TYPE_CHECKING:
    from p2p.gossip.connections.streams import Stream


class Telling:
    """Frames on their way to the agent."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.sent_at = -math.inf  # trio's clock, of the last frame
        self._lock = trio.Lock()

    async def send(self, frame: Frame) -> None:
        """Raises Unavailable if the agent left."""
        # half a frame would spoil the stream; bounded by the frame's own time limit
        with trio.CancelScope(shield=True):
            async with self._lock:
                await self.stream.send(pack_frame(frame))
                self.sent_at = trio.current_time()

    async def at_work(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`, and say every WORKING_EVERY_S that it goes on, where there is nothing else to send. Raises what
        `work` raises."""
        failed: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._say_so)
            try:
                await work()
            except Exception as error:  # through the nursery it would become a group
                failed = error
            nursery.cancel_scope.cancel()
        if failed is not None:
            raise failed

    async def _say_so(self) -> None:
        """An agent that left is noticed by who has something to say."""
        try:
            while True:
                await trio.sleep(WORKING_EVERY_S)
                if trio.current_time() >= self.sent_at + WORKING_EVERY_S:
                    await self.send(Working(round(1000 * EXECUTOR_SILENT_S * strain())))
        except FolkmootError:
            return
