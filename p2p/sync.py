"""A peer that was away asks others: block after block, or from a snapshot when it is epochs behind. Law: beside consensus, no mode
switch; the core decides.

Every certificate is checked by the driver before a block is applied, every chunk against a header that the light client trusts. A peer
whose answer proves false is left alone for a while.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import structlog
import trio

from p2p.chain_sync import check_snapshot, install, sync_answer, trusted
from p2p.consensus.light import TRUSTING_MS, LightBlock, follow
from p2p.consensus.messages import Block, CommitCertificate
from p2p.errors import FolkmootError, RemoteProtocolError, StorageError, Unavailable
from p2p.inference.session import Failure as FailureFrame
from p2p.inference.session import (
    Frame,
    LightAnswer,
    LightWanted,
    SnapshotChunk,
    SnapshotManifest,
    SnapshotWanted,
    SyncBlock,
    SyncTop,
    SyncWanted,
    pack_frame,
    raise_failure,
    receive_frame,
)
from p2p.ledger.snapshot import open_chunk
from p2p.types import VERSION

if TYPE_CHECKING:
    from p2p.chain import Chain
    from p2p.gossip.streams import Stream

log = structlog.get_logger()

ASK_EVERY_S = 1.0
MAX_ANSWERS_PER_VISIT = 1024
SNAPSHOT_EPOCHS = 3  # so many epochs behind, a snapshot is quicker than the blocks
AVOID_S = 60.0  # a peer that lied is not asked for so long
F = TypeVar("F", bound="Frame")


async def serve_sync(chain: Chain, stream: Stream) -> None:
    """Answer frames on one stream until the other side closes it."""
    for _ in range(MAX_ANSWERS_PER_VISIT):
        try:
            frame = await receive_frame(stream, SyncWanted, LightWanted, SnapshotWanted)
        except Unavailable:
            return  # closed: the visit is over
        await stream.send(pack_frame(sync_answer(chain, frame)))


class Catchup:
    """inject: the engine's way in for a decided block; True when it was applied. reload: its way to stand elsewhere."""

    def __init__(
        self,
        chain: Chain,
        connected: Callable[[], tuple[str, ...]],
        open_stream: Callable[[str, str], Awaitable[Stream]],
        inject: Callable[[Block, CommitCertificate], Awaitable[bool]],
        reload: Callable[[Callable[[], None]], Awaitable[None]],
    ) -> None:
        self._chain, self._connected, self._open, self._inject, self._reload = chain, connected, open_stream, inject, reload
        self._avoid: dict[str, float] = {}
        self.visits = 0

    async def run(self) -> None:
        """For ever: visit one connected peer each second and take what it has above our height."""
        while True:
            await trio.sleep(ASK_EVERY_S)
            now = trio.current_time()
            self._avoid = {peer: until for peer, until in self._avoid.items() if until > now}
            peers = [peer for peer in self._connected() if peer not in self._avoid]
            if not peers:
                continue
            peer = random.choice(peers)
            try:
                await self._visit(peer)
            except RemoteProtocolError as error:
                self._avoid[peer] = now + AVOID_S
                log.warning("a peer gave false history and is left alone", peer=peer, reason=str(error))
            except StorageError:
                raise
            except FolkmootError as error:
                log.debug("sync visit failed", peer=peer, reason=str(error))

    async def _visit(self, peer: str) -> None:
        stream = await self._open(peer, "sync")
        try:
            top = await _ask(stream, SyncWanted(VERSION, 0), SyncTop)
            self.visits += 1
            far = top.snapshot > self._chain.height() + SNAPSHOT_EPOCHS * self._chain.genesis.epoch_blocks
            if far and time.time_ns() // 1_000_000 < self._chain.last_time_ms() + TRUSTING_MS:  # else only the blocks themselves convince
                await self._take_snapshot(stream, top.snapshot)
            elif top.base <= self._chain.height() + 1:
                await self._take_blocks(stream, top.top)
        finally:
            await stream.close()

    async def _take_blocks(self, stream: Stream, top: int) -> None:
        for _ in range(MAX_ANSWERS_PER_VISIT - 1):
            wanted = self._chain.height() + 1
            if wanted > top:
                return
            answer = await _ask(stream, SyncWanted(VERSION, wanted), SyncBlock)
            if answer.block.header.height != wanted:
                raise RemoteProtocolError(f"asked for block {wanted}, got {answer.block.header.height}", field="height")
            if not await self._inject(answer.block, answer.certificate) and self._chain.height() < wanted:
                raise RemoteProtocolError(f"block {wanted} is not what was decided", field="certificate")

    async def _take_snapshot(self, stream: Stream, height: int) -> None:
        """Trust the header after `height` by light client, check manifest and chunks against it, stand there."""
        at = await self._trust(stream, height)
        after = await self._trust(stream, height + 1)
        manifest = (await _ask(stream, SnapshotWanted(VERSION, height, -1), SnapshotManifest)).manifest
        check_snapshot(manifest, at, after.header)
        pairs: list[tuple[bytes, bytes]] = []
        for index in range(len(manifest.chunks)):
            chunk = (await _ask(stream, SnapshotWanted(VERSION, height, index), SnapshotChunk)).chunk
            pairs += open_chunk(chunk, manifest, index)
        log.info("snapshot checked", height=height, chunks=len(manifest.chunks))
        await self._reload(lambda: install(self._chain, manifest, pairs, at) if self._chain.height() < height else None)

    async def _trust(self, stream: Stream, height: int) -> LightBlock:
        steps = follow(trusted(self._chain), height, self._chain.genesis.network, time.time_ns() // 1_000_000)
        try:
            wanted = next(steps)
            while True:
                wanted = steps.send((await _ask(stream, LightWanted(VERSION, wanted), LightAnswer)).block)
        except StopIteration as done:
            way: list[LightBlock] = done.value
            return way[-1]


async def _ask(stream: Stream, request: Frame, kind: type[F]) -> F:
    """One question, one answer of the right kind. Raises the other side's error as ours."""
    await stream.send(pack_frame(request))
    frame = await receive_frame(stream, kind, FailureFrame)
    if isinstance(frame, FailureFrame):
        raise_failure(frame)
    if not isinstance(frame, kind):
        raise RemoteProtocolError(f"{type(frame).__name__} instead of {kind.__name__}", field="frame")
    return frame
