"""Remembers all it hears and says it again later, its own words and those of others, of this height and of old ones."""

from __future__ import annotations

from p2p.consensus import wire
from p2p.consensus.events import Broadcast
from tests.sim.peer import Peer
from tests.sim.villains.base import Villain

KEPT = 400


class StaleReplayer(Villain):
    heard: list[Broadcast]

    def start(self) -> None:
        self.heard = []
        super().start()

    def receive(self, source: int, topic: str, data: bytes) -> None:
        if self.alive and topic != "transactions" and len(self.heard) < KEPT:
            self.heard.append(Broadcast(topic, data))
        super().receive(source, topic, data)

    def rewrite(self, other: Peer, message: wire.Wire, say: Broadcast) -> list[Broadcast]:
        old = [self.world.rng.choice(self.heard) for _ in range(2)] if self.heard else []
        return [say, *old]
