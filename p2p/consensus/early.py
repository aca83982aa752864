"""Messages of the next height, kept until we are there. Law: a fixed number per validator, whatever it sends."""

from __future__ import annotations

from p2p.codec import encode
from p2p.consensus import wire
from p2p.consensus.messages import SignedProposal, SignedVote

VOTES_EACH = 8
OTHERS_EACH = 2  # proposals of one proposer; certificates, by their round


class EarlyMessages:
    """By sender: votes and proposals by who signed them, certificates by round (they have no sender of their own)."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, bytes], dict[bytes, wire.Wire]] = {}

    def add(self, message: wire.Wire) -> None:
        if isinstance(message, SignedVote):
            place, limit = (1, message.vote.validator), VOTES_EACH
        elif isinstance(message, SignedProposal):
            place, limit = (2, message.proposal.proposer), OTHERS_EACH
        else:
            place, limit = (3, b""), OTHERS_EACH
        kept = self._kept.setdefault(place, {})
        if len(kept) < limit:
            kept[encode(message)] = message

    def drain(self, height: int) -> list[wire.Wire]:
        """All of `height`, proposals first; forgets everything."""
        found = [m for _, kept in sorted(self._kept.items(), key=lambda item: (item[0][0] != 2, item[0])) for m in kept.values()]
        self._kept = {}
        return [m for m in found if wire.height_of(m) == height]

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))
