"""Says which connections a peer wants of its own accord.

Law: nobody who dials us can use up the connections that we choose ourselves.

Pure: the caller passes what is connected, and the time.

- SLOT-1: a peer keeps OUTBOUND_SLOTS connections that it dialled itself, to peers from its own book. Connections that
  others made do not count, so an attacker who dials us a hundred times changes nothing about them.
- SLOT-2: no two of them are in one wide address group (a /16 of IPv4, a /32 of IPv6). Addresses of this machine and of
  private networks are exempt (GROUP-2): who is there is not far away, and a laboratory is one group.
- SLOT-3: the two that have been connected longest, for ANCHOR_AGE_S at least, are the anchors. They are saved, and
  dialled first after a restart, so a restart is no chance to surround a peer.
- SLOT-4: a validator wants a connection to every other, while there are at most MAX_PARTNERS. Of two that want each
  other one dials first (pace.is_first); the other one begins PARTNER_TURN_S later, if it still has to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from p2p.base.limits import ANCHOR_AGE_S, MAX_ANCHORS, PARTNER_TURN_S
from p2p.gossip.connections.budget import Held
from p2p.gossip.connections.pace import is_first


def own(held: Iterable[Held]) -> list[Held]:
    """Connections in our own slots, the oldest first."""
    return sorted((one for one in held if one.outbound and one.greeted), key=lambda one: one.since)


def groups_taken(held: Iterable[Held]) -> set[str]:
    """SLOT-2: wide groups in which no further peer is dialled for a slot."""
    return {one.wide for one in held if one.outbound and one.wide}


def anchors(held: Iterable[Held], now: float) -> tuple[str, ...]:
    """SLOT-3."""
    return tuple(one.peer for one in own(held) if now - one.since >= ANCHOR_AGE_S)[:MAX_ANCHORS]


class Partners:
    """SLOT-4: which validators are missing, and since when."""

    __slots__ = ("_me", "_since")

    def __init__(self, me: str) -> None:
        self._me = me
        self._since: dict[str, float] = {}

    def missing(self, wanted: Collection[str], linked: Collection[str], now: float) -> set[str]:
        """Those of `wanted` that are not connected."""
        gone = {peer for peer in wanted if peer not in linked and peer != self._me}
        self._since = {peer: self._since.get(peer, now) for peer in gone}
        return gone

    def due(self, now: float) -> set[str]:
        """Those that it is our turn to dial."""
        return {p for p, since in self._since.items() if is_first(self._me, p) or now - since >= PARTNER_TURN_S}
