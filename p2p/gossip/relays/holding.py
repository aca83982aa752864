"""The places that this peer has at relays: which to ask, when to renew, what to name.

Law: while others cannot dial this peer it has RELAYS places, at relays in different networks where there are such.

Pure: the caller passes the time.

- HOLD-1: a place is renewed when half of its time is over. A relay's clock may be wrong, so a place is taken to last at
  least RESERVATION_LEAST_S and at most RESERVATION_S.
- HOLD-2: a place ends with the connection to its relay. Then another relay is asked at once.
- HOLD-3: only a peer that we dialled ourselves, directly, is asked: that is proof that others can dial it, at the very
  address that we name for it. One that refused is asked again after RELAY_PAUSE_S, then after twice as long each time.
- HOLD-4: of those that may be asked, the ones come first whose wide address group (GROUP-2) has no relay of ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from p2p.base.limits import (
    MAX_SCORED_PEERS,
    RELAY_PAUSE_MAX_S,
    RELAY_PAUSE_S,
    RELAYS,
    RESERVATION_LEAST_S,
    RESERVATION_S,
)
from p2p.gossip.connections.budget import wide_group
from p2p.gossip.connections.pace import share


@dataclass(frozen=True, slots=True)
class Near:
    """A peer that could be our relay."""

    peer: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """Where we dialled it."""
        return f"/{'ip6' if ':' in self.host else 'ip4'}/{self.host}/tcp/{self.port}"


@dataclass(frozen=True, slots=True)
class Place:
    """A place at a relay."""

    relay: Near
    renew_at: float
    until: float

    @property
    def address(self) -> str:
        """What others dial, without our own id."""
        return f"{self.relay.address}/p2p/{self.relay.peer}/p2p-circuit"


class Holding:
    """The places of one peer. me: its id, so that peers behind one router do not all ask the same relays first."""

    __slots__ = ("_me", "_refusals", "places", "why")

    def __init__(self, me: str = "") -> None:
        self._me = me
        self.places: dict[str, Place] = {}
        self._refusals: dict[str, tuple[int, float]] = {}  # relay -> (refusals in a row, not asked before)
        self.why = ""  # the newest refusal

    def granted(self, relay: Near, lasts_s: float, now: float) -> None:
        """HOLD-1. lasts_s: as the relay's answer and our clock say."""
        lasts_s = min(RESERVATION_S, max(RESERVATION_LEAST_S, lasts_s))
        self._refusals.pop(relay.peer, None)
        self.places[relay.peer] = Place(relay, now + lasts_s / 2, now + lasts_s)

    def refused(self, relay: str, now: float, why: str) -> None:
        """HOLD-3. A renewal that fails for another cause than the relay's word is tried again while the place lasts."""
        times = self._refusals.pop(relay, (0, 0.0))[0]
        self._refusals[relay] = (times + 1, now + min(RELAY_PAUSE_MAX_S, RELAY_PAUSE_S * 2.0 ** min(times, 16)))
        while len(self._refusals) > MAX_SCORED_PEERS:
            del self._refusals[next(iter(self._refusals))]
        self.why = why

    def look(self, linked: Collection[str], now: float) -> bool:
        """HOLD-2: forget places that are over. Whether there were any."""
        over = [relay for relay, place in self.places.items() if relay not in linked or place.until <= now]
        for relay in over:
            del self.places[relay]
        return bool(over)

    def release(self) -> bool:
        """Others can dial us: no place is needed. Whether there was one."""
        had = bool(self.places)
        self.places.clear()
        return had

    def to_ask(self, near: Iterable[Near], now: float) -> Near | None:
        """The relay to ask now, for a renewal or for a new place."""
        waits = {relay for relay, (_, until) in self._refusals.items() if until > now}
        due = [p for p in self.places.values() if p.renew_at <= now and p.relay.peer not in waits]
        if due:
            return min(due, key=lambda place: place.until).relay
        if len(self.places) >= RELAYS:
            return None
        taken = {wide_group(place.relay.host) for place in self.places.values()} - {""}
        free = [one for one in near if one.peer not in self.places and one.peer not in waits]
        return min(
            free, default=None,
            key=lambda one: (wide_group(one.host) in taken, self._times(one.peer), share(self._me, one.peer)),
        )

    def addresses(self) -> tuple[str, ...]:
        """What others dial, without our own id; the place that lasts longest first."""
        return tuple(place.address for place in sorted(self.places.values(), key=lambda place: -place.until))

    def _times(self, relay: str) -> int:
        return self._refusals.get(relay, (0, 0.0))[0]
