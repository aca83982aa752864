"""ValueSync in the simulator: the same frames as on the sync stream, one visit after the other. Law: the driver
checks, this only asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p.base.errors import FolkmootError
from p2p.base.types import VERSION
from p2p.chain.sync_server import sync_answer
from p2p.consensus.events import Commit
from p2p.wire.frames import SyncBlock, SyncTop, SyncWanted, pack_frame, parse_frame

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from tests.sim.peer import Peer

AVOID_MS = 20_000  # a peer that lied is not asked again for so long


def answer(chain: Chain, request: bytes) -> bytes:
    return pack_frame(sync_answer(chain, parse_frame(request)))


class SyncClient:
    """One peer's requests. liars: peer number -> until when it is not asked."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.liars: dict[int, int] = {}

    def visit(self) -> None:
        """Ask another peer each second; those that lied are not asked for a while."""
        peer = self.peer
        peer.later(700, self.visit)
        honest = [o for o in peer.others if o.alive and self.liars.get(o.number, 0) <= peer.world.now]
        if honest:
            self._ask(peer.world.rng.choice(honest), 0)

    def _ask(self, other: Peer, height: int) -> None:
        peer, world = self.peer, self.peer.world
        request = pack_frame(SyncWanted(VERSION, height))

        def back(data: bytes) -> None:
            peer.later(0, lambda: self._take(other, height, data))

        def there() -> None:
            if other.alive:
                data = other.answer(request)
                world.reach(other.number, peer.number, lambda: back(data))

        world.reach(peer.number, other.number, there)

    def _take(self, other: Peer, height: int, data: bytes) -> None:
        try:
            frame = parse_frame(data)
        except FolkmootError:
            self.liars[other.number] = self.peer.world.now + AVOID_MS
            return
        mine = self.peer.chain.height()
        if height == 0:
            if isinstance(frame, SyncTop) and frame.top > mine:
                self._ask(other, mine + 1)
            return
        if height != mine + 1:
            return  # consensus was faster
        if not isinstance(frame, SyncBlock) or not self.peer.commit(Commit(frame.block, frame.certificate)):
            self.liars[other.number] = self.peer.world.now + AVOID_MS
            return
        self._ask(other, height + 1)
