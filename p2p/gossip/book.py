"""Addresses of peers: who can be dialled where, and when next. Law: bounded, and a peer's failures only delay it.

Pure: the caller passes the time. Rule BOOK-1: after a failed dial the wait doubles from 1 s to 15 s.
BOOK-2: a peer that was lost is dialled again for five minutes even when there are connections enough.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from p2p.limits import (
    LOST_PEER_S,
    MAX_ADDRESSES_PER_PEER,
    MAX_KNOWN_PEERS,
    MAX_PEERS_SHARED,
    REDIAL_FIRST_S,
    REDIAL_MAX_S,
)

_ADDRESS = re.compile(
    r"/(?:(?P<ip>ip4|ip6)/(?P<host>[0-9a-fA-F.:]{2,45})|dns[46]?/(?P<name>[A-Za-z0-9.-]{1,120}))"
    r"/tcp/(?P<port>\d{1,5})(?:/p2p/(?P<peer>[1-9A-HJ-NP-Za-km-z]{20,80}))?\Z"
)


@dataclass(slots=True)
class _Known:
    addresses: tuple[str, ...]
    failures: int = 0
    next_dial: float = 0.0
    lost_until: float = 0.0


class AddressBook:
    """Known peers by peer id, oldest news first."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, peer: str, addresses: Iterable[str], *, first_hand: bool = False) -> None:
        """Remember where `peer` listens. First-hand news replaces; hearsay is only added behind what is known."""
        fresh = tuple(dict.fromkeys(a for raw in addresses if (a := bare_address(raw, peer)) is not None))
        if not fresh:
            return
        entry = self._known.get(peer)
        if entry is None:
            self._known[peer] = _Known(fresh[:MAX_ADDRESSES_PER_PEER])
            while len(self._known) > MAX_KNOWN_PEERS:
                self._known.popitem(last=False)
            return
        merged = fresh + entry.addresses if first_hand else entry.addresses + fresh
        entry.addresses = tuple(dict.fromkeys(merged))[:MAX_ADDRESSES_PER_PEER]
        if first_hand:
            self._known.move_to_end(peer)

    def addresses(self, peer: str) -> tuple[str, ...]:
        entry = self._known.get(peer)
        return entry.addresses if entry else ()

    def dialled(self, peer: str, ok: bool, now: float) -> None:
        entry = self._known.get(peer)
        if entry is None:
            return
        if ok:
            entry.failures, entry.next_dial, entry.lost_until = 0, 0.0, 0.0
            return
        entry.next_dial = now + min(REDIAL_MAX_S, REDIAL_FIRST_S * 2 ** min(entry.failures, 10))
        entry.failures += 1

    def lost(self, peer: str, now: float) -> None:
        """A connection ended that we did not end on purpose."""
        entry = self._known.get(peer)
        if entry is not None:
            entry.lost_until, entry.failures, entry.next_dial = now + LOST_PEER_S, 0, now + REDIAL_FIRST_S

    def to_dial(self, excluded: Collection[str], now: float, *, wanted: int) -> tuple[str, ...]:
        """Peers to dial now: all due lost ones, then up to `wanted` others, the least failed first."""
        due = [p for p, e in self._known.items() if p not in excluded and e.next_dial <= now]
        lost = [p for p in due if self._known[p].lost_until > now]
        others = sorted((p for p in due if p not in set(lost)), key=lambda p: self._known[p].failures)
        return tuple(lost + others[: max(0, wanted)])

    def share(self, peers: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What to tell about `peers`."""
        return tuple((p, self.addresses(p)) for p in peers if self.addresses(p))[:MAX_PEERS_SHARED]


def bare_address(raw: str, peer: str) -> str | None:
    """`raw` without /p2p/ID when it is a TCP address that may be dialled for `peer`, otherwise None."""
    found = _ADDRESS.match(raw)
    if found is None or not 0 < int(found["port"]) < 65536 or found["peer"] not in (None, peer):
        return None
    if found["ip"]:
        try:
            address = ip_address(found["host"])
        except ValueError:
            return None
        if address.is_unspecified or address.is_multicast or (address.version == 4) != (found["ip"] == "ip4"):
            return None
    return raw.split("/p2p/")[0]


def seen_addresses(claimed: Iterable[str], remote_host: str | None) -> tuple[str, ...]:
    """A listener on 0.0.0.0 does not know its own address: put the one we see in its place."""
    out = []
    for raw in claimed:
        if remote_host and (raw.startswith(("/ip4/0.0.0.0/", "/ip6/::/"))):
            family = "ip6" if ":" in remote_host else "ip4"
            out.append(f"/{family}/{remote_host}/" + raw.split("/", 3)[3])
        else:
            out.append(raw)
    return tuple(out)
