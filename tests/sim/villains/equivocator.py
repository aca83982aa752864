"""Says one thing to half of the peers and another to the rest: votes and proposals."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.consensus import wire
from p2p.consensus.events import Broadcast
from p2p.consensus.messages import SignedProposal, SignedVote
from tests.sim.peer import Peer
from tests.sim.villains.base import Villain


class Equivocator(Villain):
    def rewrite(self, other: Peer, message: wire.Wire, say: Broadcast) -> list[Broadcast]:
        if other.number % 2 == 0 or not self.is_mine(message):
            return [say]
        if isinstance(message, SignedProposal):
            return [self.pack(self.another_block(message))] if message.proposal.pol_round < 0 else [say]
        assert isinstance(message, SignedVote)
        return [self.pack(self.vote(replace(message.vote, block_id=self.other_value(message))))]

    def other_value(self, message: SignedVote) -> bytes | None:
        """The block, or its double that an equivocating proposer shows to the other half; nil when none is known."""
        known = self.driver.machine.proposals.get(message.vote.round, [])
        for signed in known:
            for block_id in (self.another_block(signed).block.block_id, signed.proposal.block_id):
                if block_id != message.vote.block_id:
                    return block_id
        return None
