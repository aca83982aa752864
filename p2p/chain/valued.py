"""Which connections a peer keeps when it has to give some up, and which it wants. Law: those of today's validators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p.base.keys import peer_id
from p2p.base.limits import MAX_PARTNERS

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.ledger.participants.validator_sets import Members


class Validators:
    """The peer ids of those who decide the next block, made once for each set. me: this peer's public key."""

    def __init__(self, chain: Chain, me: bytes) -> None:
        self._chain, self._me = chain, peer_id(me)
        self._members: Members = ()
        self._peers: frozenset[str] = frozenset()

    def all(self) -> frozenset[str]:
        """Today's validators."""
        members = self._chain.validators()
        if members is not self._members:  # asked for each connection twice a second, so the same set costs no look
            if members != self._members:
                self._peers = frozenset(peer_id(key) for key, _ in members)
            self._members = members
        return self._peers

    def knows(self, peer: str) -> bool:
        return peer in self.all()

    def partners(self) -> frozenset[str]:
        """Those that this peer wants a connection to (SLOT-4): all, where it is one of at most MAX_PARTNERS."""
        found = self.all()
        return found if self._me in found and len(found) <= MAX_PARTNERS else frozenset()
