"""A proposal that travels by streams, and who has it. Law: found right before it is kept."""

from __future__ import annotations

from dataclasses import dataclass

from p2p.consensus.messages import Proposal


@dataclass(slots=True, eq=False)
class Offer:
    """data: its bytes as they travel, which say more than `proposal`. known: bits of neighbours that gave it to us or
    have it from us."""

    proposal: Proposal
    data: bytes
    own: bool = False
    straight: bool = False  # it came from its proposer
    said: int = 0  # times that our driver broadcast it
    meshed_at: int = 3  # which of these times goes through the mesh next: the first repeat tells no loss
    came_ms: int = 0
    known: int = 0

    @property
    def height(self) -> int:
        return self.proposal.height
