"""Dates its blocks at the edge of what is timely, so that some honest peers believe the date and others do not; helps
such a block to its polka and says nothing for it afterwards.

Where "too early" were remembered as "invalid", those that locked the block could vote for nothing else, and the others
never for it.
"""

from __future__ import annotations

from p2p.consensus import wire
from p2p.consensus.events import Broadcast
from p2p.consensus.messages import SignedVote, VoteType
from p2p.wire.frames import SyncTop, pack_frame
from tests.sim.peer import Peer
from tests.sim.villains.base import Villain


class Border(Villain):
    def clock_ms(self) -> int:
        timing, rng = self.timing, self.world.rng
        edge = timing.precision_ms + rng.randint(0, timing.precision_ms // 2)
        return super().clock_ms() + (edge if rng.random() < 0.9 else -timing.delay_ms - edge)

    def rewrite(self, other: Peer, message: wire.Wire, say: Broadcast) -> list[Broadcast]:
        if not isinstance(message, SignedVote) or not self.is_mine(message):
            return [say]
        vote, machine = message.vote, self.driver.machine
        is_prevote = vote.height == self.driver.height and vote.type is VoteType.PREVOTE
        helps = is_prevote and machine.proposer_of(vote.round) == self.key.public
        return [say] if helps or (vote.block_id is None and self.world.rng.random() < 0.5) else []

    def answer(self, request: bytes) -> bytes:
        """It may have decided the block alone, with its own precommit: nobody is to learn that."""
        del request
        return pack_frame(SyncTop(1, 0))
