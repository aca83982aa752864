"""Which connections a peer keeps when it has to give some up. Law: those of today's validators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p.base.keys import peer_id

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.ledger.participants.validator_sets import Members


class Validators:
    """The peer ids of those who decide the next block, made once for each set."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._members: Members = ()
        self._peers: frozenset[str] = frozenset()

    def knows(self, peer: str) -> bool:
        return peer in self.all()

    def all(self) -> frozenset[str]:
        members = self._chain.validators()
        if members != self._members:
            self._members, self._peers = members, frozenset(peer_id(key) for key, _ in members)
        return self._peers
