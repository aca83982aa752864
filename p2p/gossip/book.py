"""Addresses of peers: who can be dialled where, and when next. Law: bounded, and nobody's word drives out what we have seen ourselves.

Pure: the caller passes the time. Rule BOOK-1: after a failed dial the wait doubles from 1 s to 15 s. BOOK-2: a peer that we had reached ourselves and
lost, or whose ban ended, is dialled again for five minutes even when there are connections enough; nobody else is, for a stranger that greets
and leaves would choose whom we dial. BOOK-3: an entry has a rank: hearsay, told by the peer itself, reached by us; a new entry drives out only
what ranks no higher, the oldest first. BOOK-4: one source has at most MAX_HEARSAY_PER_SOURCE entries of hearsay, its own oldest goes first; and
of one peer's addresses each source has its turn. BOOK-5: the reached and the others share the dials that are open at once; neither waits for the
other's to end, and in each the least failed goes first.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import ip_address
from itertools import chain, zip_longest

from p2p.base.limits import (
    DIALS_AT_ONCE,
    LOST_PEER_S,
    MAX_ADDRESSES_PER_PEER,
    MAX_HEARSAY_PER_SOURCE,
    MAX_KNOWN_PEERS,
    MAX_PEERS_SHARED,
    REDIAL_FIRST_S,
    REDIAL_MAX_S,
)

_ADDRESS = re.compile(
    r"/(?:(?P<ip>ip4|ip6)/(?P<host>[0-9a-fA-F.:]{2,45})|dns[46]?/(?P<name>[A-Za-z0-9.-]{1,120}))"
    r"/tcp/(?P<port>\d{1,5})(?:/p2p/(?P<peer>[1-9A-HJ-NP-Za-km-z]{20,80}))?\Z"
)
_PEER = re.compile(r"[1-9A-HJ-NP-Za-km-z]{20,80}\Z")


class Rank(IntEnum):
    """How an address came to us. HEARSAY: another peer named it. TOLD: the peer itself, when it greeted. REACHED: we dialled it, or the user
    names it."""

    HEARSAY = 0
    TOLD = 1
    REACHED = 2


@dataclass(slots=True)
class _Known:
    addresses: tuple[str, ...]
    rank: Rank
    source: str
    failures: int = 0
    next_dial: float = 0.0
    lost_until: float = 0.0
    heard: dict[str, str] = field(default_factory=dict)  # hearsay: which source named an address


class AddressBook:
    """Known peers by peer id, oldest news first."""

    __slots__ = ("_by_source", "_known")

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._by_source: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, peer: str, addresses: Iterable[str], rank: Rank = Rank.HEARSAY, *, source: str = "") -> None:
        """Remember where `peer` listens. Its own word and what was reached come first, the newest in front; hearsay only adds to hearsay."""
        fresh = tuple(dict.fromkeys(a for raw in addresses if (a := bare_address(raw, peer)) is not None))
        if not fresh:
            return
        entry = self._known.get(peer)
        if entry is None:
            if self._make_room(rank, source):
                fresh = fresh[:MAX_ADDRESSES_PER_PEER]
                self._known[peer] = _Known(fresh, rank, source, heard=dict.fromkeys(fresh, source))
                self._by_source[source] += rank is Rank.HEARSAY
            return
        if rank is Rank.HEARSAY:
            if entry.rank is Rank.HEARSAY:  # what we know better is not added to: a stranger would send us anywhere in the peer's name
                news = dict.fromkeys(fresh, source)
                entry.heard = _in_turns(news | entry.heard if entry.failures else entry.heard | news)
                entry.addresses = tuple(entry.heard)
            return
        entry.addresses = tuple(dict.fromkeys(fresh + entry.addresses))[:MAX_ADDRESSES_PER_PEER]
        self._raise(entry, rank)
        self._known.move_to_end(peer)

    def addresses(self, peer: str) -> tuple[str, ...]:
        entry = self._known.get(peer)
        return entry.addresses if entry else ()

    def rank(self, peer: str) -> Rank | None:
        entry = self._known.get(peer)
        return entry.rank if entry else None

    def dialled(self, peer: str, ok: bool, now: float) -> None:
        entry = self._known.get(peer)
        if entry is None:
            return
        if ok:
            entry.failures, entry.next_dial, entry.lost_until = 0, 0.0, 0.0
            self._raise(entry, Rank.REACHED)
            self._known.move_to_end(peer)
            return
        entry.next_dial = now + min(REDIAL_MAX_S, REDIAL_FIRST_S * 2 ** min(entry.failures, 10))
        entry.failures += 1

    def lost(self, peer: str, now: float, *, dear: bool = False) -> None:
        """A connection ended that we did not end on purpose, or a ban did: seek the peer if we had reached it. dear: or in any case."""
        entry = self._known.get(peer)
        if entry is not None and (entry.rank is Rank.REACHED or dear):
            entry.lost_until, entry.failures, entry.next_dial = now + LOST_PEER_S, 0, now + REDIAL_FIRST_S

    def to_dial(
        self, excluded: Collection[str], now: float, *, wanted: int, busy: Collection[str] = (), slots: int = DIALS_AT_ONCE
    ) -> tuple[str, ...]:
        """Peers to dial now: those that were lost, and up to `wanted` others. busy: who is dialled already; slots: how many more may be (BOOK-5)."""
        due = [p for p, e in self._known.items() if e.next_dial <= now and p not in excluded and p not in busy]
        due.sort(key=lambda p: (self._known[p].failures, -self._known[p].rank))
        queues: dict[bool, list[str]] = {True: [], False: []}
        running = Counter(self.rank(p) is Rank.REACHED for p in busy)
        for peer in due:
            queues[self._known[peer].rank is Rank.REACHED].append(peer)
        out: list[str] = []
        while len(out) < slots and any(queues.values()):
            mine = queues[True] and (running[True] <= running[False] or not queues[False])
            peer = queues[bool(mine)].pop(0)
            lost = self._known[peer].lost_until > now
            if lost or wanted > 0:
                wanted -= not lost
                running[bool(mine)] += 1
                out.append(peer)
        return tuple(out)

    def failed(self, peer: str) -> bool:
        """Whether the last dial of `peer` failed."""
        entry = self._known.get(peer)
        return entry is not None and entry.failures > 0

    def share(self, peers: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What to tell about `peers`."""
        return tuple((p, self.addresses(p)) for p in peers if self.addresses(p))[:MAX_PEERS_SHARED]

    # -- on disk

    def dump(self, most_bytes: int) -> bytes:
        """Who told us itself or was reached, the newest first, one a line: rank, peer, addresses."""
        lines, size = [], 0
        for peer, entry in reversed(self._known.items()):
            line = " ".join((str(int(entry.rank)), peer, *entry.addresses)) + "\n"
            size += len(line)
            if entry.rank is Rank.HEARSAY or size > most_bytes:
                continue
            lines.append(line)
        return "".join(lines).encode("ascii")

    def load(self, raw: bytes, most_bytes: int) -> int:
        """Learn what `dump` wrote; whatever is no such line is passed over. Returns how many peers were read."""
        count = 0
        for line in reversed(raw[:most_bytes].decode("ascii", "replace").splitlines()):
            rank, *rest = line.split(" ")
            if rank in ("1", "2") and len(rest) > 1 and _PEER.match(rest[0]):
                self.learn(rest[0], rest[1:], Rank(int(rank)))
                count += self.rank(rest[0]) is not None
        return count

    # -- room

    def _raise(self, entry: _Known, rank: Rank) -> None:
        if rank > entry.rank:
            if entry.rank is Rank.HEARSAY:
                self._by_source[entry.source] -= 1
                self._by_source += Counter()
            entry.rank = rank

    def _make_room(self, rank: Rank, source: str) -> bool:
        """BOOK-3, BOOK-4. False: there is none for an entry of this rank."""
        if rank is Rank.HEARSAY and self._by_source[source] >= MAX_HEARSAY_PER_SOURCE:
            self._drop(next(p for p, e in self._known.items() if e.rank is Rank.HEARSAY and e.source == source))
        if len(self._known) < MAX_KNOWN_PEERS:
            return True
        for lower in range(rank + 1):
            for peer, entry in self._known.items():
                if entry.rank == lower:
                    self._drop(peer)
                    return True
        return False

    def _drop(self, peer: str) -> None:
        entry = self._known.pop(peer)
        if entry.rank is Rank.HEARSAY:
            self._by_source[entry.source] -= 1
            self._by_source += Counter()


def _in_turns(heard: dict[str, str]) -> dict[str, str]:
    """Of all sources their first address, then their second, as many as one peer may have."""
    by_source: dict[str, list[str]] = {}
    for address, source in heard.items():
        by_source.setdefault(source, []).append(address)
    turns = chain.from_iterable(zip_longest(*by_source.values()))
    return {a: heard[a] for a in [a for a in turns if a is not None][:MAX_ADDRESSES_PER_PEER]}


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
