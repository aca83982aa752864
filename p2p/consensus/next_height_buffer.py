"""Messages of the next height, kept until this peer is there. Law: a fixed number per sender, whatever it sends."""

from __future__ import annotations

from dataclasses import dataclass

from p2p.base.codec import encode
from p2p.consensus import wire
from p2p.consensus.messages import SignedProposal, SignedVote

VOTES_PER_VALIDATOR = 8
PROPOSALS_PER_PROPOSER = 2
CERTIFICATES_PER_KIND = 2  # they have no sender of their own
Shelf = tuple[int, bytes]  # (kind of message as in wire.KINDS, its signer's key; b"" for certificates)
PROPOSAL_KIND = wire.NUMBERS[SignedProposal]


@dataclass(frozen=True, slots=True)
class Buffered:
    """A message of the next height."""

    message: wire.Wire
    at_ms: int  # when it arrived: by that a proposal is timely or not, however long it waits here


class NextHeightBuffer:
    """Votes and proposals are counted by whoever signed them, certificates by kind."""

    def __init__(self) -> None:
        self._kept: dict[Shelf, dict[bytes, Buffered]] = {}

    def wants(self, message: wire.Wire) -> bool:
        """Whether there is room for it, and it is not here yet."""
        shelf, limit = _shelf_of(message)
        kept = self._kept.get(shelf, {})
        return len(kept) < limit and encode(message) not in kept

    def add(self, message: wire.Wire, at_ms: int) -> None:
        if self.wants(message):
            self._kept.setdefault(_shelf_of(message)[0], {})[encode(message)] = Buffered(message, at_ms)

    def drain(self, height: int) -> list[Buffered]:
        """All messages of `height`, proposals first. The buffer is empty then."""
        shelves = sorted(self._kept.items(), key=lambda item: (item[0][0] != PROPOSAL_KIND, item[0]))
        self._kept = {}
        return [one for _, kept in shelves for one in kept.values() if wire.height_of(one.message) == height]

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))


def _shelf_of(message: wire.Wire) -> tuple[Shelf, int]:
    """Where a message is kept, and how many may be kept there."""
    kind = wire.NUMBERS[type(message)]
    if isinstance(message, SignedVote):
        return (kind, message.vote.validator), VOTES_PER_VALIDATOR
    if isinstance(message, SignedProposal):
        return (kind, message.proposal.proposer), PROPOSALS_PER_PROPOSER
    return (kind, b""), CERTIFICATES_PER_KIND
