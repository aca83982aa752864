"""What this peer does with each gossip message. Law: the outcome says what the network does with it: ACCEPT passes it
on, IGNORE drops it, REJECT drops it and counts against the peer that sent it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from p2p.base.codec import decode
from p2p.base.errors import RemoteProtocolError
from p2p.base.limits import MAX_TX
from p2p.base.outcome import Outcome
from p2p.chain.chain import Chain
from p2p.chain.checkpoint import Anchor
from p2p.consensus.engine import ConsensusEngine

TOPICS = ("votes", "proposals", "transactions")
_WRAPPING = 16  # bytes around a transaction on its topic, at most


@dataclass(frozen=True, slots=True)
class TopicHandlers:
    """The consumers of one peer's topics."""

    chain: Chain
    consensus: ConsensusEngine
    anchor: Anchor  # the checkpoint, where the operator gave one

    def table(self) -> dict[str, Callable[[str, bytes], Outcome]]:
        """Topic -> handler of (forwarder's peer id, message)."""
        return {
            "votes": lambda peer, data: self._consensus(peer, "votes", data),
            "proposals": lambda peer, data: self._consensus(peer, "proposals", data),
            "transactions": self.transaction,
        }

    def _consensus(self, peer: str, topic: str, data: bytes) -> Outcome:
        """Below a checkpoint signatures prove nothing, so nothing is decided by them."""
        if self.anchor.is_below(self.chain.height() + 1):
            return Outcome.IGNORE
        return self.consensus.deliver(peer, topic, data)

    def transaction(self, peer: str, data: bytes) -> Outcome:
        """[counter, raw transaction]; the counter lets a repeat pass the network's filter of duplicates."""
        del peer
        try:
            wrapped = decode(data, limit=MAX_TX + _WRAPPING)
        except RemoteProtocolError:
            return Outcome.REJECT
        match wrapped:
            case [int(), bytes(raw)]:
                outcome = self.chain.pool.hear(raw)
            case _:
                return Outcome.REJECT
        if outcome is Outcome.ACCEPT and self.chain.pool.is_next(raw):
            self.consensus.wake()
        return outcome
