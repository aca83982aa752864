"""Messages of the next height, kept until we are there. Law: a fixed number per validator, whatever it sends."""

from __future__ import annotations

from dataclasses import dataclass

from p2p.base.codec import encode
from p2p.consensus import wire
from p2p.consensus.messages import SignedProposal, SignedVote

VOTES_EACH = 8
OTHERS_EACH = 2  # proposals of one proposer; certificates of one kind (they have no sender of their own)
Place = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Early:
    """at_ms: when it arrived. A proposal is timely or not by that, however long it waits here."""

    message: wire.Wire
    at_ms: int


class EarlyMessages:
    """By sender: votes and proposals by whoever signed them, certificates by kind."""

    def __init__(self) -> None:
        self._kept: dict[Place, dict[bytes, Early]] = {}

    def wants(self, message: wire.Wire) -> bool:
        """Whether there is room for it, and it is not here yet."""
        place, limit = _place(message)
        kept = self._kept.get(place, {})
        return len(kept) < limit and encode(message) not in kept

    def add(self, message: wire.Wire, at_ms: int) -> None:
        if self.wants(message):
            self._kept.setdefault(_place(message)[0], {})[encode(message)] = Early(message, at_ms)

    def drain(self, height: int) -> list[Early]:
        """All of `height`, proposals first; forgets everything."""
        found = [e for _, kept in sorted(self._kept.items(), key=lambda item: (item[0][0] != 2, item[0])) for e in kept.values()]
        self._kept = {}
        return [early for early in found if wire.height_of(early.message) == height]

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))


def _place(message: wire.Wire) -> tuple[Place, int]:
    if isinstance(message, SignedVote):
        return (1, message.vote.validator), VOTES_EACH
    if isinstance(message, SignedProposal):
        return (2, message.proposal.proposer), OTHERS_EACH
    return (wire.NUMBERS[type(message)], b""), OTHERS_EACH
