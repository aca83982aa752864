"""Reads the network block by block, and tells those who watch.

Law: one task; so much at once and no more, whatever the network does. What it cannot read now it reads at the next
look; after a gap it goes on with the newest blocks.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import msgspec
import structlog
import trio

from p2p.base import serving_limits as limits
from p2p.base.codec import unpack
from p2p.base.errors import FolkmootError
from p2p.base.types import RecordKind
from p2p.consensus.light import LightBlock
from p2p.explorer.draws import Draws
from p2p.explorer.feed import Feed
from p2p.explorer.history import History
from p2p.explorer.rows import PeerRow
from p2p.explorer.source import Source
from p2p.wire.answers.blocks import BlockAnswer, Light
from p2p.wire.answers.inferences import InferenceAnswer
from p2p.wire.answers.network import PricesAnswer
from p2p.wire.answers.status import PublicStatus

log = structlog.get_logger(__name__)

LOOK_S = 0.5  # between two looks at the height
_LOOKS = 100  # at a peer, that its uptime counts
_encode = msgspec.json.Encoder().encode


class Follower:
    """Keeps `history`, `draws` and `peers` as the network is now."""

    def __init__(self, source: Source) -> None:
        self.history, self.draws, self.feed = History(), Draws(), Feed()
        self.height = 0  # of the network, as told last
        self.trouble = ""  # why nothing was read at the last look; empty: it was
        self._source = source
        self._peers: OrderedDict[str, PeerRow] = OrderedDict()
        self._nodes: dict[str, str] = {}  # peer -> its node key, as it said

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_peers)
            while True:
                try:
                    behind = await self.look()
                    self.trouble = ""
                except FolkmootError as error:  # of one look; the next one tries again
                    behind, self.trouble = 0, str(error)
                except Exception:  # the edge of this task: a fault in it must not end the gateway beside it
                    log.exception("a look at the network failed")
                    behind, self.trouble = 0, "a fault of this program; its log has more"
                if behind <= 0:
                    await trio.sleep(LOOK_S)

    async def look(self) -> int:
        """Read what is new. Returns how many blocks are still to be read. Raises FolkmootError."""
        status = await self._source.ask(PublicStatus, {"op": "status"})
        self.height = status.height
        first = self.history.top + 1
        if status.height - first >= limits.EXPLORER_FIRST_BLOCKS:
            first = max(status.base, status.height - limits.EXPLORER_FIRST_BLOCKS + 1, 1)
        last = min(status.height, first + limits.EXPLORER_AT_ONCE - 1)
        touched = OrderedDict[str, None]()
        for height in range(first, last + 1):
            touched.update(dict.fromkeys(await self._block(height, is_new=status.height - height < 4)))
        await self._inferences([*touched][-limits.EXPLORER_TOUCHED :])
        if last >= first:
            prices = await self._source.ask(PricesAnswer, {"op": "prices"})
            if self.history.add_prices(prices, status.last_time_ms):
                self._tell("prices", {"height": prices.height})
        elif left := self.history.unread(limits.EXPLORER_AT_ONCE):
            await self._inferences(list(left))
        return status.height - last

    async def _block(self, height: int, *, is_new: bool) -> tuple[str, ...]:
        block = await self._source.ask(BlockAnswer, {"op": "block", "height": height})
        found = await self._source.ask(Light, {"op": "light", "height": height})
        light = unpack(LightBlock, bytes.fromhex(found.light))
        touched = self.history.add_block(
            block, (key.hex() for key, _ in light.certificate.signatures), (key.hex() for key, _ in light.validators),
        )
        row = self.history.block(height)
        if row is not None and is_new:
            self._tell("block", row)
        if is_new:
            await self._keep_draws(block)
        return touched

    async def _keep_draws(self, block: BlockAnswer) -> None:
        started = [r.inference_id for r in block.records if r.kind == RecordKind.START.name and r.inference_id]
        for inference_id in started[: limits.EXPLORER_TOUCHED]:
            try:
                await self.draws.fetch(self._source, inference_id)
            except FolkmootError as error:  # the page says what is missing
                log.info("a draw could not be kept", inference=inference_id[:12], why=error.message)

    async def _inferences(self, wanted: list[str]) -> None:
        for inference_id in wanted:
            try:
                found = await self._source.ask(InferenceAnswer, {"op": "inference", "id": inference_id})
            except FolkmootError as error:
                if error.code != "not_found":  # a record that the ledger refused names no inference
                    raise
                continue
            if self.history.add_inference(found):
                self._tell("inference", {"id": found.id, "status": found.status})

    def _tell(self, name: str, what: Any) -> None:
        self.feed.publish(name, _encode(what))

    # -- peers --------------------------------------------------------------------------------------------------------

    def peers(self) -> tuple[PeerRow, ...]:
        """The peers that are connected, as they answered last."""
        connected = set(self._source.peers())
        return tuple(row for row in self._peers.values() if row.peer_id in connected)

    def looks(self) -> dict[str, tuple[int, int]]:
        """node -> (looks at it, answers to them), also of peers that are not connected any more."""
        return {self._nodes[row.peer_id]: (row.looks, row.answered) for row in self._peers.values()
                if row.peer_id in self._nodes}

    async def _watch_peers(self) -> None:
        while True:
            connected = self._source.peers()
            for peer in connected[: limits.EXPLORER_PEERS]:
                await self._look_at(peer)
            for row in [row for row in self._peers.values() if row.peer_id not in connected]:
                self._peers[row.peer_id] = _looked(row, row.status, answered=False)
            self._tell("peers", {"connected": len(self._source.peers())})
            await trio.sleep(limits.EXPLORER_PEERS_S)

    async def _look_at(self, peer: str) -> None:
        before = self._peers.pop(peer, PeerRow(peer, None, 0, 0))
        try:
            status = await self._source.ask_peer(peer, PublicStatus, {"op": "status"})
        except FolkmootError:  # of one peer: it is shown as silent
            self._peers[peer] = _looked(before, None, answered=False)
        else:
            self._nodes[peer] = status.node
            self._peers[peer] = _looked(before, status, answered=True)
        while len(self._peers) > 4 * limits.EXPLORER_PEERS:
            old, _ = self._peers.popitem(last=False)
            self._nodes.pop(old, None)


def _looked(row: PeerRow, status: PublicStatus | None, *, answered: bool) -> PeerRow:
    """One look more. After _LOOKS of them, what was before counts half."""
    half = row.looks >= _LOOKS
    looks, answers = (row.looks // 2, row.answered // 2) if half else (row.looks, row.answered)
    return PeerRow(row.peer_id, status, answers + answered, looks + 1)
