"""A peer that was away asks others: block after block, or from a snapshot when it is epochs behind.

Law: it runs while consensus does, with no switch between modes; the core decides what is applied. The driver checks
every certificate before a block is applied; every chunk is checked against a header that the light client trusts. A
peer whose answer proves false is not asked for a while; a slow one is asked when nobody quicker is there. Below a
checkpoint (checkpoint.py) blocks and headers are believed for their ids, which it proves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
import trio

from p2p.base.errors import FolkmootError, RemoteProtocolError, StorageError, Unavailable
from p2p.base.limits import MAX_ANSWERS_PER_VISIT
from p2p.base.types import VERSION
from p2p.chain.checkpoint import Anchor, check_proved
from p2p.chain.history_sources import Sources
from p2p.chain.peer_visit import TooSlow, Visit
from p2p.chain.sync_server import check_snapshot, install, sync_answer, trusted
from p2p.consensus.light import TRUSTING_MS, Facts, LightBlock, facts_of, follow
from p2p.consensus.messages import Block, CommitCertificate
from p2p.ledger.state.snapshot import open_chunk
from p2p.wire.frames import (
    LightAnswer,
    LightWanted,
    SnapshotChunk,
    SnapshotManifest,
    SnapshotWanted,
    SyncBlock,
    SyncTop,
    SyncWanted,
    pack_frame,
    receive_frame,
)

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.gossip.connections.streams import Stream

log = structlog.get_logger()

ASK_EVERY_S = 1.0
PATIENCE = 2  # times what a block usually takes, for which a peer waits for consensus before it asks
MOST_PATIENT_S = 8.0
SNAPSHOT_EPOCHS = 3  # so many epochs behind, a snapshot is quicker than the blocks


async def serve_sync(chain: Chain, stream: Stream) -> None:
    """Answer frames on one stream until the other side closes it."""
    for _ in range(MAX_ANSWERS_PER_VISIT):
        try:
            frame = await receive_frame(stream, SyncWanted, LightWanted, SnapshotWanted)
        except Unavailable:
            return  # closed: the visit is over
        await stream.send(pack_frame(sync_answer(chain, frame)))


class Catchup:
    """Visits peers for what they have above this chain's height.

    inject: hands a decided block to the engine; True when it was applied. reload: runs a change of the whole chain
    while the engine rests. anchor: what a checkpoint proves.
    """

    def __init__(
        self,
        chain: Chain,
        connected: Callable[[], tuple[str, ...]],
        open_stream: Callable[[str, str], Awaitable[Stream]],
        inject: Callable[[Block, CommitCertificate], Awaitable[bool]],
        reload: Callable[[Callable[[], None]], Awaitable[None]],
        anchor: Anchor | None = None,
    ) -> None:
        self._chain, self._connected, self._open = chain, connected, open_stream
        self._inject, self._reload = inject, reload
        self._anchor = anchor or Anchor(None)
        self._sources = Sources()
        self._height = chain.height()  # at the end of the last visit or look
        self._decided_at = -math.inf  # when a look last found a block that consensus had decided
        self._usual_s = ASK_EVERY_S  # between two blocks, averaged

    def _follows(self, now: float) -> bool:
        """Whether consensus decides blocks here, as quickly as it lately did. Then there is nothing to ask for: who
        votes with the others is where they are. On a slow network, questions would make it slower."""
        before, self._height = self._height, self._chain.height()
        if self._height > before:
            if self._decided_at > -math.inf:
                took_s = min(now - self._decided_at, MOST_PATIENT_S) / (self._height - before)
                self._usual_s += (took_s - self._usual_s) / 4
            self._decided_at = now
        return now - self._decided_at < min(PATIENCE * self._usual_s, MOST_PATIENT_S)

    async def run(self) -> None:
        """For ever: where consensus brings nothing, visit one connected peer each second and take what it has above
        our height."""
        while True:
            await trio.sleep(ASK_EVERY_S)
            if self._follows(trio.current_time()):
                continue
            found = self._sources.pick(self._connected(), trio.current_time())
            if found is None:
                continue
            peer, may_be_slow = found
            try:
                await self._visit(peer, may_be_slow=may_be_slow)
            except RemoteProtocolError as error:
                self._sources.lied(peer, trio.current_time())
                log.warning("a peer gave false history and is not asked for a while", peer=peer, reason=str(error))
            except StorageError:
                raise
            except TooSlow as error:
                self._sources.was_slow(peer, trio.current_time())
                log.info("a peer gives history slowly; others are asked first", peer=peer, reason=str(error))
            except FolkmootError as error:
                log.debug("sync visit failed", peer=peer, reason=str(error))
            if self._chain.height() > self._height:  # what a visit brought is not from consensus: ask on
                self._height, self._decided_at = self._chain.height(), -math.inf

    async def _visit(self, peer: str, *, may_be_slow: bool) -> None:
        stream = await self._open(peer, "sync")
        visit = Visit(stream, may_be_slow=may_be_slow)
        try:
            top = await visit.ask(SyncWanted(VERSION, 0), SyncTop)
            height = self._chain.height()
            far = top.snapshot > height + SNAPSHOT_EPOCHS * self._chain.genesis.epoch_blocks
            if self._anchor.is_below(height + 1):
                await self._climb(visit, top, far=far)
            elif far and self._may_trust():
                start = trusted(self._chain)
                at = await self._trust(visit, start, top.snapshot)
                await self._take_snapshot(visit, at, await self._trust(visit, start, top.snapshot + 1))
            elif top.base <= height + 1:
                await self._take_blocks(visit, top.top)
        finally:
            await stream.close()
        if visit.gains and visit.quick:
            self._sources.was_quick(peer)

    def _may_trust(self) -> bool:
        """Whether a light client may start from this chain's tip; later only the blocks themselves convince."""
        return time.time_ns() // 1_000_000 < self._chain.last_time_ms() + TRUSTING_MS

    async def _climb(self, visit: Visit, top: SyncTop, *, far: bool) -> None:
        """Towards a checkpoint: only what it proves is taken."""
        checkpoint, height = self._anchor.checkpoint, self._chain.height()
        assert checkpoint is not None
        if top.top < checkpoint.height:
            return  # it does not know that block yet
        if far:
            at = await self._prove(visit, top.snapshot)
            await self._take_snapshot(visit, at, await self._prove(visit, top.snapshot + 1))
        elif top.base <= height + 1:
            first = await self._prove(visit, height + 1)
            if height and first.header.last_block_id != self._chain.last_block_id():
                log.error(
                    "the history in this folder is not the checkpoint's: begin again with an empty DIR/data",
                    height=height,
                )
                return
            await self._take_blocks(visit, checkpoint.height)

    async def _prove(self, visit: Visit, height: int) -> LightBlock:
        """The header of `height`, by the ids that go down from the checkpoint, or by the light client from there up."""
        anchor, network = self._anchor, self._chain.genesis.network
        assert anchor.checkpoint is not None
        while anchor.is_below(height) and anchor.lowest > height:
            anchor.learn((await visit.ask(LightWanted(VERSION, anchor.lowest), LightAnswer)).block)
            visit.gained()
        known = min(height, anchor.checkpoint.height)
        block = (await visit.ask(LightWanted(VERSION, known), LightAnswer)).block
        anchor.check(known, block.header.block_id)
        check_proved(block, network)
        return block if known == height else await self._trust(visit, facts_of(block, network), height)

    async def _take_blocks(self, visit: Visit, top: int) -> None:
        for _ in range(MAX_ANSWERS_PER_VISIT - 1):
            wanted = self._chain.height() + 1
            if wanted > top:
                return
            answer = await visit.ask(SyncWanted(VERSION, wanted), SyncBlock)
            if answer.block.header.height != wanted:
                raise RemoteProtocolError(f"asked for block {wanted}, got {answer.block.header.height}", field="height")
            self._anchor.check(wanted, answer.block.block_id)
            if not await self._inject(answer.block, answer.certificate) and self._chain.height() < wanted:
                raise RemoteProtocolError(f"block {wanted} is not what was decided", field="certificate")
            visit.gained()
            self._anchor.passed(self._chain.height())

    async def _take_snapshot(self, visit: Visit, at: LightBlock, after: LightBlock) -> None:
        """Two headers are trusted: check manifest and chunks against them, stand there."""
        height = at.header.height
        manifest = (await visit.ask(SnapshotWanted(VERSION, height, -1), SnapshotManifest)).manifest
        check_snapshot(manifest, at, after.header)
        pairs: list[tuple[bytes, bytes]] = []
        for index in range(len(manifest.chunks)):
            chunk = (await visit.ask(SnapshotWanted(VERSION, height, index), SnapshotChunk)).chunk
            pairs += open_chunk(chunk, manifest, index)
            visit.gained()
        log.info("snapshot checked", height=height, chunks=len(manifest.chunks))
        await self._reload(lambda: install(self._chain, manifest, pairs, at) if self._chain.height() < height else None)

    async def _trust(self, visit: Visit, start: Facts, height: int) -> LightBlock:
        steps = follow(start, height, self._chain.genesis.network, time.time_ns() // 1_000_000)
        try:
            wanted = next(steps)
            while True:
                wanted = steps.send((await visit.ask(LightWanted(VERSION, wanted), LightAnswer)).block)
                visit.gained()
        except StopIteration as done:
            way: list[LightBlock] = done.value
            return way[-1]
