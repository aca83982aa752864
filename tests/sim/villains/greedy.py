"""Says all the time that it lacks every vote, or has every one, at this height and at others."""

from __future__ import annotations

from p2p.base.codec import encode
from p2p.base.limits import MAX_VALIDATORS
from p2p.consensus.vote_frames import Want
from tests.sim.villains.base import Villain

EVERY_MS = 20


class Greedy(Villain):
    def start(self) -> None:
        super().start()
        self.later(EVERY_MS, self.ask)

    def ask(self) -> None:
        rng = self.world.rng
        full = b"\xff" * (MAX_VALIDATORS // 8)
        for other in self.others:
            height = max(0, self.driver.height + rng.choice((-1, 0, 0, 0, 1, 2**40)))
            have = rng.choice((b"", b"", full))
            self.send(other, "frames", encode(Want(height, rng.choice((0, 0, 1, 2**31)), have, have, (), ())))
        self.later(EVERY_MS, self.ask)
