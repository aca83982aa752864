"""Accuses honest peers: evidence put together from what they really signed, and from what they never did; also in
its blocks."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.consensus import wire
from p2p.consensus.events import Broadcast
from p2p.consensus.evidence import Amnesia, DuplicateVote
from p2p.consensus.header import tx_root
from p2p.consensus.messages import SignedProposal, SignedVote
from tests.sim.peer import Peer
from tests.sim.villains.base import Villain


class EvidenceFramer(Villain):
    heard: dict[bytes, SignedVote]

    def start(self) -> None:
        self.heard = {}
        super().start()

    def accusations(self, message: SignedVote) -> list[bytes]:
        """Against the sender of `message`."""
        before = self.heard.get(message.vote.validator, message)
        changed = SignedVote(replace(message.vote, block_id=bytes(32)), message.signature)
        by_me = self.vote(replace(message.vote, block_id=bytes(32)))
        return [encode(e) for e in (
            DuplicateVote(before, message), DuplicateVote(message, message), DuplicateVote(message, changed),
            DuplicateVote(message, by_me), Amnesia(before, message), Amnesia(message, before),
            Amnesia(message, changed),
        )]

    def receive(self, source: int, topic: str, data: bytes) -> None:
        super().receive(source, topic, data)
        if not self.alive or self.world.rng.random() > 0.1:
            return
        for message in self.read(topic, data):
            if isinstance(message, SignedVote):
                for raw in self.accusations(message):
                    say = self.pack(wire.EvidenceNote(self.driver.height, raw))
                    for other in self.others:
                        self.send(other, say.topic, say.data)
                self.heard[message.vote.validator] = message

    def rewrite(self, other: Peer, message: wire.Wire, say: Broadcast) -> list[Broadcast]:
        fresh = isinstance(message, SignedProposal) and message.proposal.pol_round < 0
        if isinstance(message, SignedProposal) and fresh and self.is_mine(message) and self.heard:
            victim = self.heard[min(self.heard)]
            evidence = (self.accusations(victim)[3],)
            header = replace(
                message.block.header, tx_root=tx_root(message.block.txs, message.block.last_commit, evidence)
            )
            block = replace(message.block, header=header, evidence=evidence)
            signed = self.proposal(replace(message.proposal, block_id=block.block_id), message)
            return [self.pack(replace(signed, block=block))]
        return [say]
