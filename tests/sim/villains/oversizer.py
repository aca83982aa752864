"""Sends too much: blocks beyond the limit, certificates of a hundred equal votes, votes for many rounds ahead."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.limits import MAX_BLOCK, MAX_TX
from p2p.consensus import wire
from p2p.consensus.events import Broadcast
from p2p.consensus.header import tx_root
from p2p.consensus.messages import RoundCertificate, SignedProposal, SignedVote
from tests.sim.peer import Peer
from tests.sim.villains.base import Villain


class Oversizer(Villain):
    def rewrite(self, other: Peer, message: wire.Wire, say: Broadcast) -> list[Broadcast]:
        if isinstance(message, SignedProposal) and self.is_mine(message) and message.proposal.pol_round < 0:
            txs = (bytes(MAX_TX),) * (MAX_BLOCK // MAX_TX)
            header = replace(message.block.header, tx_root=tx_root(txs, message.block.last_commit, ()))
            block = replace(message.block, header=header, txs=txs)
            signed = self.proposal(replace(message.proposal, block_id=block.block_id), message)
            return [self.pack(replace(signed, block=block))]
        if isinstance(message, SignedVote) and self.is_mine(message):
            vote = message.vote
            far = [self.pack(self.vote(replace(vote, round=vote.round + ahead))) for ahead in (5, 50, 500)]
            many = RoundCertificate(vote.height, vote.round, (message,) * 100)
            return [say, *far, self.pack(many)]
        return [say]
