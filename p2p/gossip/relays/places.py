"""What a relay has promised: places for peers that can only dial out, and circuits to them.

Law: no promise exceeds a limit, and a place ends with the connection it was made over.

Pure: the caller passes the time.

- RELAY-1: a reservation lasts RESERVATION_S, may be renewed at any time, and is one a peer. Address groups have at most
  eight; the last quarter of all is for validators, so strangers cannot take what the network's own hosts need.
- RELAY-2: a circuit leads to a peer with a place. It is counted for the peer that dials, its address group, and all.
- RELAY-3: at most CIRCUITS_TO_PEER lead to one peer, of these CIRCUITS_TO_PEER_FROM_GROUP from one address group: that
  peer sees all who come through this relay as one group (GROUP-3), and nobody may fill it alone. Validators are exempt
  from the share of an address group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from p2p.base.limits import CIRCUITS_TO_PEER, CIRCUITS_TO_PEER_FROM_GROUP, RESERVATION_S
from p2p.gossip.connections.budget import Budgets
from p2p.gossip.relays.messages import Status


@dataclass(slots=True)
class _Place:
    """One reservation."""

    group: str  # under which it is counted
    until: float


@dataclass(slots=True)
class Circuit:
    """One circuit that is open."""

    source: str
    group: str  # of the source
    target: str
    left: int  # bytes that it may still carry
    valued: bool = False  # the source is a validator

    def carry(self, amount: int) -> bool:
        """Count `amount` bytes; False: they are more than it may carry."""
        self.left -= amount
        return self.left >= 0


class Places:
    """The promises of one relay."""

    __slots__ = ("_budgets", "_open", "_places", "carried", "made", "refused")

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._places: dict[str, _Place] = {}
        self._open: dict[str, Counter[str]] = {}  # target -> open circuits to it, by the address group that dialled
        self.made = 0  # circuits since the start
        self.carried = 0  # bytes since the start
        self.refused = Counter[Status]()

    def reserve(self, peer: str, group: str, now: float, *, valued: bool = False) -> float | None:
        """RELAY-1: until when `peer` has a place; None: there is none."""
        place = self._places.get(peer)
        if place is None:
            taken = self._budgets.reservations.take(peer, "" if valued else group, ours=valued)
            if not taken:
                self.refused[Status.RESERVATION_REFUSED] += 1
                return None
            place = self._places[peer] = _Place("" if valued else group, now)
        place.until = now + RESERVATION_S
        return place.until

    def has(self, peer: str) -> bool:
        return peer in self._places

    def peers(self) -> tuple[str, ...]:
        """Those that have a place, in the order in which they came."""
        return tuple(self._places)

    def sweep(self, linked: Collection[str], now: float) -> None:
        """Forget places that are over, and those of peers that are not connected any more. Circuits to them stay."""
        for peer, place in list(self._places.items()):
            if place.until <= now or peer not in linked:
                del self._places[peer]
                self._budgets.reservations.give(peer, place.group)

    def open(self, source: str, group: str, target: str, data: int, *, valued: bool = False) -> Circuit | Status:
        """RELAY-2, RELAY-3: a circuit for `source`, which is in `group`, to `target`; or the reason against it. data:
        bytes that it may carry. Give it back with `close`."""
        if target not in self._places:
            return self._no(Status.NO_RESERVATION)
        others = self._open.get(target, Counter())
        full = others.total() >= CIRCUITS_TO_PEER
        crowded = bool(group) and not valued and others[group] >= CIRCUITS_TO_PEER_FROM_GROUP
        if full or crowded or not self._budgets.circuits.take(source, "" if valued else group, ours=valued):
            return self._no(Status.RESOURCE_LIMIT_EXCEEDED)
        self._open[target] = others + Counter({group: 1})
        self.made += 1
        return Circuit(source, group, target, data, valued)

    def close(self, circuit: Circuit) -> None:
        """A circuit of `open` has ended."""
        self._budgets.circuits.give(circuit.source, "" if circuit.valued else circuit.group)
        self._open[circuit.target] -= Counter({circuit.group: 1})
        if not self._open[circuit.target]:
            del self._open[circuit.target]

    def _no(self, why: Status) -> Status:
        self.refused[why] += 1
        return why
