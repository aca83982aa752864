"""Changes one random byte of what it sends."""

from __future__ import annotations

from p2p.consensus import wire
from p2p.consensus.events import Broadcast
from tests.sim.peer import Peer
from tests.sim.villains.base import Villain


class ByteMutator(Villain):
    def rewrite(self, other: Peer, message: wire.Wire, say: Broadcast) -> list[Broadcast]:
        if self.world.rng.random() < 0.3:
            return [say]
        changed = bytearray(say.data)
        changed[self.world.rng.randrange(len(changed))] ^= 1 << self.world.rng.randrange(8)
        return [Broadcast(say.topic, bytes(changed))]
