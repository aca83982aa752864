"""Makes certificates it has no votes for: others' names on its own signatures, too few votes, votes of another
round."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.consensus import wire
from p2p.consensus.events import Broadcast
from p2p.consensus.messages import PolkaCertificate, RoundCertificate, SignedProposal, SignedVote, Vote, VoteType
from tests.sim.peer import Peer
from tests.sim.villains.base import Villain


class CertificateForger(Villain):
    def rewrite(self, other: Peer, message: wire.Wire, say: Broadcast) -> list[Broadcast]:
        if isinstance(message, SignedVote) and self.is_mine(message):
            return [say, *self.forged(message.vote)]
        if isinstance(message, SignedProposal) and self.is_mine(message) and message.proposal.round > 0:
            return [self.pack(self.pretend(message))]
        return [say]

    def forged(self, vote: Vote) -> list[Broadcast]:
        members = self.driver.validators.members
        signature = self.vote(vote).signature
        stolen = tuple(SignedVote(replace(vote, validator=key, type=VoteType.PREVOTE), signature) for key, _ in members)
        mine = (self.vote(replace(vote, type=VoteType.PREVOTE)),)
        value = vote.block_id
        return [
            self.pack(PolkaCertificate(vote.height, vote.round, value, stolen)),
            self.pack(PolkaCertificate(vote.height, vote.round, value, mine)),
            self.pack(PolkaCertificate(vote.height, vote.round, value, mine * 4)),
            self.pack(RoundCertificate(vote.height, vote.round + 7, stolen)),
            self.pack(RoundCertificate(vote.height, vote.round + 1, mine)),
        ]

    def pretend(self, message: SignedProposal) -> SignedProposal:
        """A re-proposal whose polka is made of one vote: nobody may prevote it for that."""
        round_ = message.proposal.round - 1
        block_id = message.proposal.block_id
        vote = Vote(
            message.proposal.network, VoteType.PREVOTE, message.proposal.height, round_, block_id, -1, self.key.public
        )
        polka = PolkaCertificate(message.proposal.height, round_, block_id, (self.vote(vote),))
        return replace(self.proposal(replace(message.proposal, pol_round=round_), message), polka=polka)
