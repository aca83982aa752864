"""What the network part says of itself: budgets, bans, and why a peer is not connected. Law: data only."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType


class BudgetRow(Struct, frozen=True, omit_defaults=True):
    """How much of one resource is taken. A resource with a rate has `spent` and `a_second`, any other `used` and
    `of`."""

    used: int | UnsetType = UNSET
    most: int | UnsetType = UNSET  # that was ever used at once
    of: int | UnsetType = UNSET
    spent: int | UnsetType = UNSET  # since the start
    a_second: int | UnsetType = UNSET
    by_peer: int | UnsetType = UNSET  # what one peer may take
    by_group: int | UnsetType = UNSET  # what one address group may take
    by_wide_group: int | UnsetType = UNSET  # what one wide address group may take
    refused: int = 0  # so often


class Ban(Struct, frozen=True):
    """A peer that this one bans."""

    peer: str
    seconds: int  # left
    why: str


class TroubleRow(Struct, frozen=True):
    """A peer that is not connected."""

    peer: str
    code: str
    message: str
    seconds: int  # until it is tried again
    by_them: bool  # it refuses us


class Links(Struct, frozen=True):
    """What a peer wants and has. Numbers since the start, but for those of connections."""

    linked: int  # connections
    own_slots: int  # connections that it dials of its own choice
    own_slots_empty: int
    partners: int  # peers that it wants all connections to
    partners_missing: int
    known: int  # peers in its address book
    forgotten: int
    dials: int
    dials_failed: int
    dials_waited: int
    searches: int  # in the DHT
    greetings: int
    strain: float  # how much longer its own work takes than on time


class PlaceRow(Struct, frozen=True):
    """A place at a relay."""

    relay: str
    address: str  # what others dial
    seconds: int  # left; it is renewed before


class ReachStatus(Struct, frozen=True):
    """How others reach a peer, and what it does as a relay. Numbers of circuits and bytes are since the start."""

    verdict: str  # 'reachable', 'not reachable', 'unknown'
    reason: str
    witnesses: int  # whose answers decide
    clock_ms: int | None  # how far others' clocks are ahead of this one at least; None: nobody said
    places: tuple[PlaceRow, ...]
    refused: str  # the newest reason why a relay gave no place
    relayed: int  # of its own connections, that lead through a relay
    relaying: bool  # it relays for others
    lodgers: int  # peers that have a place here
    circuits: int  # open now
    circuits_made: int
    carried_bytes: int
    turned_away: dict[str, int]  # requests for places and circuits, by reason


class NetworkStatus(Struct, frozen=True):
    """Of one host."""

    budgets: dict[str, BudgetRow]  # by resource, as in limits.BUDGETS
    alone: str  # why nobody is connected; empty: somebody is
    banned: tuple[Ban, ...]
    refused_by: tuple[TroubleRow, ...]
    troubles: tuple[TroubleRow, ...]
    twin: str  # another process that uses this peer's key; empty: none
    ended: dict[str, int]  # connections, by why they ended (partings.py)
    links: Links
    gossip: dict[str, Any]  # what the router holds and shed (gossipsub/router.py)
    reach: ReachStatus | None = None
