"""Forgets what it is locked on: after round 0 it prevotes whatever is proposed, and precommits it too."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.consensus import wire
from p2p.consensus.events import Broadcast
from p2p.consensus.messages import NIL_ROUND, SignedVote, VoteType
from tests.sim.peer import Peer
from tests.sim.villains.base import Villain


class Amnesiac(Villain):
    def rewrite(self, other: Peer, message: wire.Wire, say: Broadcast) -> list[Broadcast]:
        if not isinstance(message, SignedVote) or not self.is_mine(message) or message.vote.round == 0:
            return [say]
        known = self.driver.machine.proposals.get(message.vote.round, [])
        if not known:
            return [say]
        proposal = known[0].proposal
        valid_round = proposal.pol_round if message.vote.type is VoteType.PREVOTE else NIL_ROUND
        return [self.pack(self.vote(replace(message.vote, block_id=proposal.block_id, valid_round=valid_round)))]
