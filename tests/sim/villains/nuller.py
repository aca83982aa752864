"""Votes nil, whatever it sees."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.consensus import wire
from p2p.consensus.events import Broadcast
from p2p.consensus.messages import NIL_ROUND, SignedVote
from tests.sim.peer import Peer
from tests.sim.villains.base import Villain


class Nuller(Villain):
    def rewrite(self, other: Peer, message: wire.Wire, say: Broadcast) -> list[Broadcast]:
        if isinstance(message, SignedVote) and self.is_mine(message):
            return [self.pack(self.vote(replace(message.vote, block_id=None, valid_round=NIL_ROUND)))]
        return [say]
