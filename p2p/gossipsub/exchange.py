"""Peers named in PRUNEs, ours and others' (PX).

Law: only peers that did nothing wrong are named, and only whom we trust we believe.

- PX-1: a PRUNE for lack of room names up to `exchange_peers` neighbours on the topic whose score is not negative and
  whose record we have.
- PX-2: what a PRUNE names is an offer where its sender's score is at least `accept_exchange`; MAX_OFFERS wait at most.
"""

from __future__ import annotations

from p2p.base.limits import MAX_OFFERS, MAX_PEER_ID, MAX_PEER_RECORD
from p2p.gossipsub.lot import Lot
from p2p.gossipsub.neighbour import Neighbour
from p2p.gossipsub.neighbours import Neighbours
from p2p.gossipsub.rpc import PeerInfo, Prune


class Exchange:
    """Which peers we name, and which were named to us."""

    __slots__ = ("_neighbours", "_offers", "_rng")

    def __init__(self, neighbours: Neighbours, rng: Lot) -> None:
        self._neighbours, self._rng = neighbours, rng
        self._offers: dict[bytes, PeerInfo] = {}

    def __len__(self) -> int:
        return len(self._offers)

    def name_peers(self, topic: str, pruned: Neighbour) -> tuple[PeerInfo, ...]:
        """Peers for the one that is pruned."""
        infos = [
            one.info for one in self._neighbours.on(topic)
            if one is not pruned and one.score >= 0 and one.info is not None
        ]
        return tuple(self._rng.sample(infos, min(len(infos), self._neighbours.params.exchange_peers)))

    def take_in(self, one: Neighbour, prune: Prune) -> None:
        """Peers that a neighbour named to us."""
        params = self._neighbours.params
        if one.score < params.thresholds.accept_exchange:
            return
        for info in prune.peers[: params.exchange_peers]:
            fits = 0 < len(info.peer) <= MAX_PEER_ID and len(info.record) <= MAX_PEER_RECORD
            if fits and len(self._offers) < MAX_OFFERS:
                self._offers[info.peer] = info

    def take_offers(self) -> list[PeerInfo]:
        """What was named to us since the last call."""
        offers, self._offers = list(self._offers.values()), {}
        return offers
