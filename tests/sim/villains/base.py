"""A peer that lies. Law: it has its own key and nobody else's; it runs the honest driver and changes what leaves it."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import Domain
from p2p.consensus import wire
from p2p.consensus.events import Broadcast
from p2p.consensus.messages import Proposal, SignedProposal, SignedVote, Vote, sign_vote
from p2p.consensus.vote_frames import Bundle, Proposed, parse_frame
from tests.sim.peer import Peer


class Villain(Peer):
    """rewrite() gives what one receiver hears instead of an honest message."""

    def broadcast(self, say: Broadcast) -> None:
        message = wire.parse(say.data)
        for other in self.others:
            for lie in self.rewrite(other, message, say):
                self.send(other, lie.topic, lie.data)

    def rewrite(self, other: Peer, message: wire.Wire, say: Broadcast) -> list[Broadcast]:
        del other, message
        return [say]

    # -- tools ----------------------------------------------------------------------------------------------------

    def pack(self, message: wire.Wire) -> Broadcast:
        topic = "proposals" if isinstance(message, SignedProposal) else "votes"
        return Broadcast(topic, wire.pack(message, self.world.rng.getrandbits(30)))

    def read(self, topic: str, data: bytes) -> list[wire.Wire]:
        """The messages in what came, whichever way votes travel."""
        try:
            frame = parse_frame(data) if topic in ("frames", "mesh") else Bundle(0, (data,))
            if isinstance(frame, Proposed):
                return [wire.parse(frame.proposal)]
            return [wire.parse(raw) for raw in frame.messages] if isinstance(frame, Bundle) else []
        except RemoteProtocolError:
            return []

    def is_mine(self, message: wire.Wire) -> bool:
        if isinstance(message, SignedVote):
            return message.vote.validator == self.key.public
        return isinstance(message, SignedProposal) and message.proposal.proposer == self.key.public

    def vote(self, vote: Vote) -> SignedVote:
        return sign_vote(self.key, vote)

    def proposal(self, proposal: Proposal, like: SignedProposal) -> SignedProposal:
        return replace(
            like, proposal=proposal, signature=self.key.sign(Domain.PROPOSAL, proposal.network, encode(proposal))
        )

    def another_block(self, like: SignedProposal) -> SignedProposal:
        """The same proposal with another block: a millisecond later, so everything else about it is right."""
        header = replace(like.block.header, time_ms=like.block.header.time_ms + 1)
        block = replace(like.block, header=header)
        changed = self.proposal(replace(like.proposal, block_id=block.block_id), like)
        return replace(changed, block=block)
