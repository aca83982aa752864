"""ValueSync: a peer that was away asks others for decided blocks. Law: beside consensus, no mode switch; the core decides.

Every certificate is checked by the engine before a block is applied, so a lying peer costs a round trip, not safety.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
import trio

from p2p.consensus.messages import Block, CommitCertificate
from p2p.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.inference.session import Frame, SyncBlock, SyncTop, SyncWanted, failure, pack_frame, parse_frame
from p2p.limits import MAX_FRAME
from p2p.types import VERSION

if TYPE_CHECKING:
    from p2p.chain import Chain
    from p2p.gossip.streams import Stream

log = structlog.get_logger()

ASK_EVERY_S = 1.0
MAX_BLOCKS_PER_VISIT = 256


def sync_answer(chain: Chain, frame: Frame) -> Frame:
    """The answer to one frame on a sync stream. Raises RemoteProtocolError for a frame that has no place there."""
    if not isinstance(frame, SyncWanted):
        raise RemoteProtocolError(f"{type(frame).__name__} has no place on sync", field="frame")
    if frame.height == 0:
        return SyncTop(chain.height())
    found = chain.block(frame.height)
    return SyncBlock(*found) if found else failure(Unavailable(f"no block {frame.height} here", field="height"))


async def serve_sync(chain: Chain, stream: Stream) -> None:
    """Answer frames on one stream until the other side closes it."""
    for _ in range(MAX_BLOCKS_PER_VISIT + 1):
        try:
            frame = parse_frame(await stream.receive(limit=1024))
        except Unavailable:
            return  # closed: the visit is over
        await stream.send(pack_frame(sync_answer(chain, frame)))


class Catchup:
    """Follows the highest peer. inject: the engine's way in for a decided block; True when it was applied."""

    def __init__(
        self,
        chain: Chain,
        connected: Callable[[], tuple[str, ...]],
        open_stream: Callable[[str, str], Awaitable[Stream]],
        inject: Callable[[Block, CommitCertificate], Awaitable[bool]],
    ) -> None:
        self._chain, self._connected, self._open, self._inject = chain, connected, open_stream, inject
        self.best_seen = 0
        self.visits = 0

    async def run(self) -> None:
        """For ever: visit one connected peer each second and take what it has above our height."""
        while True:
            await trio.sleep(ASK_EVERY_S)
            peers = self._connected()
            if not peers:
                continue
            peer = random.choice(peers)
            try:
                await self._visit(peer)
            except FolkmootError as error:
                log.debug("sync visit failed", peer=peer, reason=str(error))

    async def _visit(self, peer: str) -> None:
        stream = await self._open(peer, "sync")
        try:
            await stream.send(pack_frame(SyncWanted(VERSION, 0)))
            top = parse_frame(await stream.receive(limit=1024))
            if not isinstance(top, SyncTop):
                return
            self.visits += 1
            self.best_seen = max(self.best_seen, min(top.top, self._chain.height() + MAX_BLOCKS_PER_VISIT))
            for _ in range(MAX_BLOCKS_PER_VISIT):
                wanted = self._chain.height() + 1
                if wanted > top.top:
                    return
                await stream.send(pack_frame(SyncWanted(VERSION, wanted)))
                answer = parse_frame(await stream.receive(limit=MAX_FRAME))
                if not isinstance(answer, SyncBlock) or answer.block.header.height != wanted:
                    return
                if not await self._inject(answer.block, answer.certificate) and self._chain.height() < wanted:
                    return
        finally:
            await stream.close()
