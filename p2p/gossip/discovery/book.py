"""The address book: where known peers can be dialled, and when to dial them next.

Law: the book is bounded, and what other peers say never replaces what we have seen ourselves.

Pure: the caller passes the time.

- BOOK-1: after a failed dial the wait doubles, from 1 s to 15 s while nobody is connected or the peer was lost lately,
  to 60 s for a validator that we want, else to ten minutes. It is shortened by a hash (PACE-2).
- BOOK-2: a peer that we had reached ourselves and lost, or whose ban ended, is dialled again for five minutes even when
  there are enough connections. Other lost peers are not: a stranger that greets and leaves would choose whom we dial.
- BOOK-3: an entry has a rank: hearsay, told by the peer itself, reached by us. A new entry replaces only entries of the
  same rank or a lower one, the oldest first.
- BOOK-4: one source has at most MAX_HEARSAY_PER_SOURCE entries of hearsay, and its own oldest is dropped first. Sources
  take turns in the list of one peer's addresses.
- BOOK-5: reached peers and all others share the dials that are open at once; neither waits for the other's dials to
  end, and in each the peer with the fewest failures is first. Anchors of the last run come before all of them, once.
- BOOK-6: peers that are gone are forgotten. A dial that fails counts only while another peer is connected, so a peer
  that is offline itself forgets nobody. Hearsay is forgotten after FORGET_HEARSAY such failures; others after
  FORGET_FAILURES, if they were not seen for FORGET_TOLD_S, or FORGET_REACHED_S where we had reached them ourselves.
- BOOK-7: one wide address group (GROUP-2) has at most MAX_KNOWN_PER_GROUP entries that we did not reach ourselves, and
  its own oldest is dropped first.
- BOOK-8: what a peer itself says of its relays replaces what was known of them. Of peers that failed as seldom, those
  that can be reached by relays alone are dialled last.
- BOOK-9: an entry is stale after STALE_FAILURES failed dials in a row, hearsay after one. Then what others say of the
  peer is kept too, until it is reached or greets, and takes turns with what we know ourselves: two peers that both
  moved, or whose relays all changed while they were apart, would never meet again.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from ipaddress import ip_address
from itertools import chain, zip_longest

from p2p.base.limits import (
    DIALS_AT_ONCE,
    FORGET_FAILURES,
    FORGET_HEARSAY,
    FORGET_REACHED_S,
    FORGET_TOLD_S,
    LOST_PEER_S,
    MAX_ADDRESSES_PER_PEER,
    MAX_HEARSAY_PER_SOURCE,
    MAX_KNOWN_PEERS,
    MAX_KNOWN_PER_GROUP,
    MAX_PEERS_SHARED,
    REDIAL_FAR_S,
    REDIAL_FIRST_S,
    REDIAL_MAX_S,
    REDIAL_PARTNER_S,
    STALE_FAILURES,
)
from p2p.gossip.connections.budget import relayed_group, wide_group, wide_of
from p2p.gossip.connections.pace import share, shortened
from p2p.gossip.connections.reach import relay_in

_ADDRESS = re.compile(
    r"/(?:(?P<ip>ip4|ip6)/(?P<host>[0-9a-fA-F.:]{2,45})|dns[46]?/(?P<name>[A-Za-z0-9.-]{1,120}))"
    r"/tcp/(?P<port>\d{1,5})(?P<circuit>/p2p/(?P<relay>[1-9A-HJ-NP-Za-km-z]{20,80})/p2p-circuit)?"
    r"(?:/p2p/(?P<peer>[1-9A-HJ-NP-Za-km-z]{20,80}))?\Z"
)


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
    seen: float  # when it was last connected
    turn: float  # a number from 0 to 1: its place among equals
    group: str = ""  # the wide group of its first address
    failures: int = 0  # dials in a row that failed
    counted: int = 0  # of these, while another peer was connected
    dialled: float = float("-inf")  # when the last failed dial ended; without failures, when the first may be made
    lost_until: float = 0.0  # until this time it is dialled even when there are enough connections
    heard: dict[str, str] = field(default_factory=dict)  # hearsay: address -> the source that named it

    @property
    def is_stale(self) -> bool:
        """BOOK-9."""
        return self.failures >= (1 if self.rank is Rank.HEARSAY else STALE_FAILURES)

    @property
    def is_relayed(self) -> bool:
        """Whether every way to it leads through a relay."""
        return all(relay_in(address) for address in self.addresses)


class AddressBook:
    """Known peers by peer id. The one with the oldest news is first. me: our own peer id, for PACE-2."""

    __slots__ = ("_by_group", "_by_source", "_known", "_me", "anchors", "forgotten")

    def __init__(self, me: str = "") -> None:
        self._me = me
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._by_source: Counter[str] = Counter()
        self._by_group: Counter[str] = Counter()  # entries below REACHED, by wide group
        self.anchors: tuple[str, ...] = ()  # peers to dial before all others
        self.forgotten = 0  # peers that were gone (BOOK-6)

    def __len__(self) -> int:
        return len(self._known)

    def learn(
        self, peer: str, addresses: Iterable[str], rank: Rank = Rank.HEARSAY, *, source: str = "", now: float = 0.0,
    ) -> None:
        """Remember where `peer` listens; addresses that cannot be dialled are left out.

        New addresses of rank TOLD or REACHED come first. Hearsay is added only to hearsay. source: the peer that names
        the addresses, for hearsay. now: when the peer was seen, for the other ranks.
        """
        fresh = tuple(dict.fromkeys(a for raw in addresses if (a := bare_address(raw, peer)) is not None))
        if not fresh:
            return
        entry = self._known.get(peer)
        if entry is None:
            if self._make_room(rank, source, group_at(fresh[0])):
                fresh = fresh[:MAX_ADDRESSES_PER_PEER]
                turn = share(self._me, peer)
                heard = dict.fromkeys(fresh, source) if rank is Rank.HEARSAY else {}
                self._known[peer] = _Known(fresh, rank, source, now, turn, group_at(fresh[0]), heard=heard)
                if rank is Rank.HEARSAY:
                    self._by_source[source] += 1
                if rank is not Rank.REACHED:
                    self._by_group[group_at(fresh[0])] += 1
            return
        if rank is Rank.HEARSAY:
            # Not added to what is known better and works: a stranger could make us dial anywhere in the peer's name.
            if entry.rank is Rank.HEARSAY or entry.is_stale:
                news = dict.fromkeys(fresh, source)
                entry.heard = _in_turns(news | entry.heard if entry.failures else entry.heard | news)
            if entry.rank is Rank.HEARSAY:
                self._move(entry, tuple(entry.heard))
            return
        old = (a for a in entry.addresses if rank is Rank.REACHED or not relay_in(a))
        self._move(entry, tuple(dict.fromkeys((*fresh, *old)))[:MAX_ADDRESSES_PER_PEER])
        entry.seen = max(entry.seen, now)
        self._raise(entry, rank)
        entry.heard = {}
        self._known.move_to_end(peer)

    def addresses(self, peer: str) -> tuple[str, ...]:
        """Where to dial `peer`, in this order; empty for one that is not known."""
        entry = self._known.get(peer)
        if entry is None:
            return ()
        ours, theirs = (entry.addresses, tuple(entry.heard))[:: -1 if entry.failures % 2 else 1]  # BOOK-9
        return tuple(dict.fromkeys((*ours, *theirs)))

    def rank(self, peer: str) -> Rank | None:
        entry = self._known.get(peer)
        return entry.rank if entry else None

    def dialled(self, peer: str, ok: bool, now: float, *, company: bool = False) -> None:
        """A dial of `peer` ended. BOOK-1, BOOK-6. company: another peer is connected."""
        self.anchors = tuple(anchor for anchor in self.anchors if anchor != peer)
        entry = self._known.get(peer)
        if entry is None:
            return
        if ok:
            entry.failures = entry.counted = 0
            entry.dialled, entry.seen, entry.lost_until = float("-inf"), now, 0.0
            entry.heard = {}
            self._raise(entry, Rank.REACHED)
            self._known.move_to_end(peer)
            return
        entry.dialled = now
        entry.failures += 1
        entry.counted += company
        if entry.counted and self._is_gone(entry, now):
            self.forgotten += 1
            self._drop(peer)

    def _is_gone(self, entry: _Known, now: float) -> bool:
        """BOOK-6."""
        if entry.rank is Rank.HEARSAY:
            return entry.counted >= FORGET_HEARSAY
        age_s = FORGET_REACHED_S if entry.rank is Rank.REACHED else FORGET_TOLD_S
        return entry.counted >= FORGET_FAILURES and now - entry.seen >= age_s

    def lost(self, peer: str, now: float, *, dear: bool = False) -> None:
        """BOOK-2: a connection ended that we did not end on purpose, or a ban ended. dear: dial the peer again even if
        we had never reached it ourselves."""
        entry = self._known.get(peer)
        if entry is not None:
            entry.seen = max(entry.seen, now)
            if entry.rank is Rank.REACHED or dear:
                entry.lost_until, entry.failures = now + LOST_PEER_S, 0
                entry.dialled = now + shortened(REDIAL_FIRST_S, self._me, peer, "lost")

    def next_dial(self, peer: str, now: float, *, company: bool, needed: bool = False) -> float:
        """BOOK-1: when `peer` may be dialled again. company: another peer is connected; needed: it is a validator that
        we want."""
        entry = self._known[peer]
        if not entry.failures:
            return entry.dialled
        near = not company or entry.lost_until > now
        most_s = REDIAL_MAX_S if near else REDIAL_PARTNER_S if needed else REDIAL_FAR_S
        wait_s = min(most_s, REDIAL_FIRST_S * 2 ** min(entry.failures - 1, 16))
        return entry.dialled + shortened(wait_s, self._me, peer, entry.failures)

    def to_dial(
        self, excluded: Collection[str], now: float, *, wanted: int, busy: Collection[str] = (),
        slots: int = DIALS_AT_ONCE, needed: Collection[str] = (), taken: Collection[str] = (), company: bool = False,
    ) -> tuple[str, ...]:
        """Peers to dial now: anchors, `needed` and lost ones, and up to `wanted` others. busy: peers that are being
        dialled; slots: how many more may be dialled (BOOK-5); taken: wide groups in which no other is dialled
        (SLOT-2); company: another peer is connected."""
        known, taken = self._known, set(taken)
        free = (p for p in known if p not in excluded and p not in busy)
        due = [p for p in free if self.next_dial(p, now, company=company, needed=p in needed) <= now]
        due.sort(key=lambda p: (
            p not in self.anchors, known[p].failures, known[p].is_relayed, -known[p].rank, known[p].turn,
        ))
        queues: dict[bool, list[str]] = {True: [], False: []}
        running = Counter(self.rank(p) is Rank.REACHED for p in busy)
        for peer in due:
            queues[known[peer].rank is Rank.REACHED].append(peer)
        out: list[str] = []
        while len(out) < slots and any(queues.values()):
            mine = queues[True] and (running[True] <= running[False] or not queues[False])
            peer = queues[bool(mine)].pop(0)
            group = known[peer].group
            if not (known[peer].lost_until > now or peer in needed or peer in self.anchors):
                if wanted <= 0 or group in taken:
                    continue
                wanted -= 1
            taken |= {group} - {""}
            running[bool(mine)] += 1
            out.append(peer)
        return tuple(out)

    def stale(self, peer: str) -> bool:
        """BOOK-9: whether `peer` seems to be elsewhere."""
        entry = self._known.get(peer)
        return entry is not None and entry.is_stale

    def share(self, peers: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(peer, addresses) of up to MAX_PEERS_SHARED of `peers`, for a greeting."""
        return tuple((p, self.addresses(p)) for p in peers if self.addresses(p))[:MAX_PEERS_SHARED]

    def entries(self) -> Iterator[tuple[str, Rank, float, tuple[str, ...]]]:
        """(peer, rank, when it was seen, addresses) of each, the newest first."""
        for peer, entry in reversed(self._known.items()):
            yield peer, entry.rank, entry.seen, entry.addresses

    # -- room

    def _raise(self, entry: _Known, rank: Rank) -> None:
        if rank > entry.rank:
            if entry.rank is Rank.HEARSAY:
                _less(self._by_source, entry.source)
            if rank is Rank.REACHED:
                _less(self._by_group, entry.group)
            entry.rank = rank

    def _move(self, entry: _Known, addresses: tuple[str, ...]) -> None:
        """Give an entry other addresses, and count it in the group of the first one."""
        entry.addresses = addresses
        group = group_at(addresses[0])
        if entry.rank is not Rank.REACHED and group != entry.group:
            self._by_group[group] += 1
            _less(self._by_group, entry.group)
        entry.group = group

    def _make_room(self, rank: Rank, source: str, group: str) -> bool:
        """Drop an entry where that is needed for a new one (BOOK-3, BOOK-4, BOOK-7). False: there is no room for this
        rank."""
        if rank is Rank.HEARSAY and self._by_source[source] >= MAX_HEARSAY_PER_SOURCE:
            self._drop(next(p for p, e in self._known.items() if e.rank is Rank.HEARSAY and e.source == source))
        if rank is not Rank.REACHED and group and self._by_group[group] >= MAX_KNOWN_PER_GROUP:
            there = [(e.rank, p) for p, e in self._known.items() if e.group == group and e.rank is not Rank.REACHED]
            lowest, oldest = min(there, key=lambda row: row[0])
            if lowest > rank:
                return False
            self._drop(oldest)
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
            _less(self._by_source, entry.source)
        if entry.rank is not Rank.REACHED:
            _less(self._by_group, entry.group)


def _less(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]


@lru_cache(maxsize=2 * MAX_KNOWN_PEERS)
def group_at(address: str) -> str:
    """The wide group (GROUP-2) of an address in the book; empty for one with a name."""
    found = _ADDRESS.match(address)
    if found is None or not found["ip"]:
        return ""
    return wide_of(relayed_group("", found["host"])) if found["circuit"] else wide_group(found["host"])


def _in_turns(heard: dict[str, str]) -> dict[str, str]:
    """The first address of each source, then the second of each, up to MAX_ADDRESSES_PER_PEER."""
    by_source: dict[str, list[str]] = {}
    for address, source in heard.items():
        by_source.setdefault(source, []).append(address)
    turns = chain.from_iterable(zip_longest(*by_source.values()))
    return {a: heard[a] for a in [a for a in turns if a is not None][:MAX_ADDRESSES_PER_PEER]}


def bare_address(raw: str, peer: str) -> str | None:
    """`raw` without its last /p2p/ID, or None where `peer` cannot be dialled so: by TCP, or by TCP to a relay."""
    found = _ADDRESS.match(raw)
    if found is None or not 0 < int(found["port"]) < 65536 or found["peer"] not in (None, peer):
        return None
    if found["relay"] == peer:
        return None
    if found["ip"]:
        try:
            address = ip_address(found["host"])
        except ValueError:
            return None
        if address.is_unspecified or address.is_multicast or (address.version == 4) != (found["ip"] == "ip4"):
            return None
    return raw[: found.end("circuit" if found["circuit"] else "port")]


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
