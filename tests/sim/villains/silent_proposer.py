"""Votes like everybody, but never proposes when it is its turn."""

from __future__ import annotations

from p2p.consensus import wire
from p2p.consensus.events import Broadcast
from p2p.consensus.messages import SignedProposal
from tests.sim.peer import Peer
from tests.sim.villains.base import Villain


class SilentProposer(Villain):
    def rewrite(self, other: Peer, message: wire.Wire, say: Broadcast) -> list[Broadcast]:
        return [] if isinstance(message, SignedProposal) and self.is_mine(message) else [say]
