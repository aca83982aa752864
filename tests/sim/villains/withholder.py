"""Lets a random few hear each of its votes, and lets late ones go out at the worst time: after the round is over."""

from __future__ import annotations

from p2p.consensus import wire
from p2p.consensus.events import Broadcast
from p2p.consensus.messages import SignedVote
from tests.sim.peer import Peer
from tests.sim.villains.base import Villain


class Withholder(Villain):
    def rewrite(self, other: Peer, message: wire.Wire, say: Broadcast) -> list[Broadcast]:
        if not isinstance(message, SignedVote) or not self.is_mine(message):
            return [say]
        if self.world.rng.random() < 0.3:
            return [say]
        if self.world.rng.random() < 0.3:
            self.later(self.world.rng.randint(500, 4000), lambda: self.send(other, say.topic, say.data))
        return []
