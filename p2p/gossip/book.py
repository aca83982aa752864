"""The address book: where known peers can be dialled, and when to dial them next.

Law: the book is bounded, and what other peers say never replaces what we have seen ourselves.

Pure: the caller passes the time.

- BOOK-1: after a failed dial the wait doubles, from 1 s to 15 s.
- BOOK-2: a peer that we had reached ourselves and lost, or whose ban ended, is dialled again for five minutes even when
  there are enough connections. Other lost peers are not: a stranger that greets and leaves would choose whom we dial.
- BOOK-3: an entry has a rank: hearsay, told by the peer itself, reached by us. A new entry replaces only entries of the
  same rank or a lower one, the oldest first.
- BOOK-4: one source has at most MAX_HEARSAY_PER_SOURCE entries of hearsay, and its own oldest is dropped first. Sources
  take turns in the list of one peer's addresses.
- BOOK-5: reached peers and all others share the dials that are open at once; neither waits for the other's dials to
  end, and in each the peer with the fewest failures is first.
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
    """How well an address is known. The numbers are in the book's file."""

    HEARSAY = 0  # another peer named it
    TOLD = 1  # the peer itself named it when it greeted
    REACHED = 2  # we reached it, or the user named it


@dataclass(slots=True)
class _Known:
    addresses: tuple[str, ...]  # the most promising first
    rank: Rank
    source: str  # the first peer that named it, "" where none did
    failures: int = 0  # dials in a row that failed
    next_dial: float = 0.0  # not before this time
    lost_until: float = 0.0  # until this time it is dialled even when there are enough connections
    heard: dict[str, str] = field(default_factory=dict)  # of hearsay: address -> the source that named it


class AddressBook:
    """Known peers by peer id. The one with the oldest news is first."""

    __slots__ = ("_by_source", "_known")

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._by_source: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, peer: str, addresses: Iterable[str], rank: Rank = Rank.HEARSAY, *, source: str = "") -> None:
        """Remember where `peer` listens; addresses that cannot be dialled are left out.

        New addresses of rank TOLD or REACHED come first. Hearsay is added only to hearsay. source: the peer that names
        the addresses, for hearsay.
        """
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
            # Not added to what is known better: a stranger could make us dial anywhere in the peer's name.
            if entry.rank is Rank.HEARSAY:
                news = dict.fromkeys(fresh, source)
                entry.heard = _in_turns(news | entry.heard if entry.failures else entry.heard | news)
                entry.addresses = tuple(entry.heard)
            return
        entry.addresses = tuple(dict.fromkeys(fresh + entry.addresses))[:MAX_ADDRESSES_PER_PEER]
        self._raise(entry, rank)
        self._known.move_to_end(peer)

    def addresses(self, peer: str) -> tuple[str, ...]:
        """Where to dial `peer`, in this order; empty for one that is not known."""
        entry = self._known.get(peer)
        return entry.addresses if entry else ()

    def rank(self, peer: str) -> Rank | None:
        entry = self._known.get(peer)
        return entry.rank if entry else None

    def dialled(self, peer: str, ok: bool, now: float) -> None:
        """A dial of `peer` ended. BOOK-1."""
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
        """BOOK-2: a connection ended that we did not end on purpose, or a ban ended. dear: dial the peer again even if
        we had never reached it ourselves."""
        entry = self._known.get(peer)
        if entry is not None and (entry.rank is Rank.REACHED or dear):
            entry.lost_until, entry.failures, entry.next_dial = now + LOST_PEER_S, 0, now + REDIAL_FIRST_S

    def to_dial(
        self, excluded: Collection[str], now: float, *, wanted: int, busy: Collection[str] = (),
        slots: int = DIALS_AT_ONCE,
    ) -> tuple[str, ...]:
        """Peers to dial now: lost ones, and up to `wanted` others. busy: peers that are being dialled; slots: how many
        more may be dialled (BOOK-5)."""
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
        """(peer, addresses) of up to MAX_PEERS_SHARED of `peers`, for a greeting."""
        return tuple((p, self.addresses(p)) for p in peers if self.addresses(p))[:MAX_PEERS_SHARED]

    # -- on disk

    def dump(self, most_bytes: int) -> bytes:
        """The book without hearsay, one line per peer (rank, peer, addresses), the newest first, up to `most_bytes`."""
        lines, size = [], 0
        for peer, entry in reversed(self._known.items()):
            line = " ".join((str(int(entry.rank)), peer, *entry.addresses)) + "\n"
            size += len(line)
            if entry.rank is Rank.HEARSAY or size > most_bytes:
                continue
            lines.append(line)
        return "".join(lines).encode("ascii")

    def load(self, raw: bytes, most_bytes: int) -> int:
        """Learn what `dump` wrote; other lines are ignored. Returns how many peers were read."""
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
        """Drop an entry where that is needed for a new one (BOOK-3, BOOK-4). False: there is no room for this rank."""
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
    """The first address of each source, then the second of each, up to MAX_ADDRESSES_PER_PEER."""
    by_source: dict[str, list[str]] = {}
    for address, source in heard.items():
        by_source.setdefault(source, []).append(address)
    turns = chain.from_iterable(zip_longest(*by_source.values()))
    return {a: heard[a] for a in [a for a in turns if a is not None][:MAX_ADDRESSES_PER_PEER]}


def bare_address(raw: str, peer: str) -> str | None:
    """`raw` without /p2p/ID, or None where it is not a TCP address that can be dialled for `peer`."""
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
    """`claimed` with 0.0.0.0 and :: replaced by the address that we see: such a listener does not know its own."""
    out = []
    for raw in claimed:
        if remote_host and (raw.startswith(("/ip4/0.0.0.0/", "/ip6/::/"))):
            family = "ip6" if ":" in remote_host else "ip4"
            out.append(f"/{family}/{remote_host}/" + raw.split("/", 3)[3])
        else:
            out.append(raw)
    return tuple(out)
