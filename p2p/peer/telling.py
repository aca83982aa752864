"""The answering side of one `infer` stream: an executor's towards its agent, an agent's towards its client.

Law: one frame at a time, and never silent while there is work. Without a word in between nobody could tell slow from
dead, and who asked goes to another peer after a second or two of silence.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from p2p.base.errors import FolkmootError
from p2p.base.limits import EXECUTOR_SILENT_S, WORKING_EVERY_S
from p2p.machine.deadlines import strain
from p2p.machine.locks import Lock
from p2p.wire.frames import Frame, Working, pack_frame

if TYPE_CHECKING:
    from p2p.gossip.connections.streams import Stream


class Telling:
    """Frames on their way to whoever asked."""

    def __init__(self, stream: Stream, began: float = 0.0) -> None:
        """began: when the question came, on trio's clock."""
        self.stream, self.began = stream, began
        self.sent_at = -math.inf  # trio's clock, of the last frame
        self.is_gone = False  # whoever asked left: a frame could not be delivered
        self._lock = Lock()

    async def send(self, *frames: Frame) -> None:
        """Send them in one write. Raises Unavailable if whoever asked left."""
        # half a frame would spoil the stream; bounded by the frame's own time limit
        with trio.CancelScope(shield=True):
            async with self._lock:
                try:
                    await self.stream.send(*map(pack_frame, frames))
                except FolkmootError:
                    self.is_gone = True
                    raise
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
        try:
            while True:
                await trio.sleep(WORKING_EVERY_S)
                if trio.current_time() >= self.sent_at + WORKING_EVERY_S:
                    await self.send(Working(round(1000 * EXECUTOR_SILENT_S * strain())))
        except FolkmootError:
            return
