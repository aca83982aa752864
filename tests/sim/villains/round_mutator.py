"""Right in everything but the round, which is one too many or one too few (ByzzFuzz's small-scope mutation),
freshly signed."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.consensus import wire
from p2p.consensus.events import Broadcast
from p2p.consensus.messages import SignedProposal, SignedVote
from tests.sim.peer import Peer
from tests.sim.villains.base import Villain


class RoundMutator(Villain):
    def rewrite(self, other: Peer, message: wire.Wire, say: Broadcast) -> list[Broadcast]:
        if not self.is_mine(message) or self.world.rng.random() < 0.4:
            return [say]
        step = self.world.rng.choice((-1, 1))
        if isinstance(message, SignedVote):
            vote = message.vote
            return [self.pack(self.vote(replace(vote, round=max(0, vote.round + step))))]
        assert isinstance(message, SignedProposal)
        proposal = message.proposal
        return [self.pack(self.proposal(replace(proposal, round=max(0, proposal.round + step)), message))]
