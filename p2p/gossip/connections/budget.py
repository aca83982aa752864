"""Counts what strangers take of each resource: per peer, per address group, and in all (limits.BUDGETS).

Law: no count ever exceeds its limit, and nothing is remembered about a peer that holds nothing.

Pure: the caller passes the time.

- BUDGET-1: each peer has a floor that no other peer can take. Beyond it, one group has at most a quarter of what
  strangers may have together.
- BUDGET-2: the last quarter of a total is for what we asked for ourselves, so strangers cannot stop our own requests.
- GROUP-1: 127.0.0.1 and ::1 are this machine, and in no group. Every other address is in one, including the rest of
  127.0.0.0/8.
- GROUP-2: a wide group is a /16 of IPv4 or a /32 of IPv6: what one operator usually has. Addresses of this machine and
  of private networks are in none.
- GROUP-3: all who come through one relay are one group, of that relay and apart from the relay's own address group. So
  whoever runs a relay, or hides behind one, gets what one more address group gets; and what strangers use up through a
  relay, nobody else lacks. Inside that group the relay sees to shares (RELAY-3). The wide group is made likewise.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from p2p.base.limits import BUDGETS, MAX_SCORED_PEERS, Budget
from p2p.gossip.connections.reach import NOWHERE, PUBLIC, scope_of
from p2p.gossip.connections.status import BudgetRow

THIS_MACHINE = ""  # in place of a group
_BY = " by "  # between the address group of a relay and the relay
_GROUP_BITS = {4: 24, 6: 56}  # prefix of a group by IP version: what one customer usually gets
_WIDE_BITS = {4: 16, 6: 32}


def group_of(host: str | None) -> str:
    """The address group of `host`, such as "192.0.2.0/24"; THIS_MACHINE for this machine and for what is no address."""
    address = _address(host)
    if address is None or str(address) in ("127.0.0.1", "::1"):
        return THIS_MACHINE
    return str(ip_network((address, _GROUP_BITS[address.version]), strict=False))


def wide_group(host: str | None) -> str:
    """The wide address group of `host`, such as "192.0.0.0/16"; empty where it is in none (GROUP-2)."""
    address = _address(host)
    if address is None or scope_of(str(address)) not in (PUBLIC, NOWHERE):
        return ""
    return str(ip_network((address, _WIDE_BITS[address.version]), strict=False))


def relayed_group(relay: str, host: str | None) -> str:
    """GROUP-3: the group of whoever comes through peer `relay`, which is at `host`."""
    return f"{group_of(host)}{_BY}{relay}"


def relay_of(group: str) -> str:
    """The relay through which a group comes; empty for a group of addresses."""
    return group.partition(_BY)[2]


@lru_cache(maxsize=MAX_SCORED_PEERS)
def wide_of(group: str) -> str:
    """The wide group that contains address group `group`, or that of relays."""
    addresses, by, _ = group.partition(_BY)
    wide = wide_group(addresses.partition("/")[0])
    return wide + by if wide else ""


def _address(host: str | None) -> IPv4Address | IPv6Address | None:
    try:
        address: IPv4Address | IPv6Address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class Ledger:
    """How much of a resource that is held and given back (bytes, sockets, streams) each peer and group holds."""

    __slots__ = ("_groups", "_peers", "budget", "most", "settle", "shed", "used")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._peers: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self.used = 0  # held by all together, floors not counted
        self.most = 0  # the highest value of `used`
        self.shed = 0  # refusals
        # Called before a refusal: it gives back what was estimated too high.
        self.settle: Callable[[], None] | None = None

    def take(self, peer: str, group: str, amount: int = 1, *, ours: bool = False) -> bool:
        """Take `amount` more for `peer`; False where the budget does not allow it. ours: for something that we
        began."""
        if not self._fits(peer, group, amount, ours):
            if self.settle is not None:
                self.settle()
            if self.settle is None or not self._fits(peer, group, amount, ours):
                self.shed += 1
                return False
        self._add(peer, group, amount)
        self.most = max(self.most, self.used)
        return True

    def give(self, peer: str, group: str, amount: int = 1) -> None:
        """Give back what was taken."""
        self._add(peer, group, -amount)

    def _add(self, peer: str, group: str, amount: int) -> None:
        shared = self._shared(peer, amount)
        for table, name, change in ((self._peers, peer, amount), (self._groups, group, shared if group else 0)):
            table[name] = table.get(name, 0) + change
            assert table[name] >= 0
            if not table[name]:
                del table[name]
        self.used += shared

    def _shared(self, peer: str, amount: int) -> int:
        """The part of `amount` that counts in group and total: what exceeds the peer's floor."""
        held, floor = self._peers.get(peer, 0), self.budget.floor
        return max(0, held + amount - floor) - max(0, held - floor)

    @contextmanager
    def held(self, peer: str, group: str) -> Iterator[bool]:
        """Take one for the length of a block. Yields whether there was one."""
        taken = self.take(peer, group)
        try:
            yield taken
        finally:
            if taken:
                self.give(peer, group)

    def of(self, peer: str, group: str = THIS_MACHINE) -> tuple[int, int]:
        """What `peer` and what `group` holds."""
        return self._peers.get(peer, 0), self._groups.get(group, 0)

    def status(self) -> BudgetRow:
        b = self.budget
        return BudgetRow(
            used=self.used, most=self.most, of=b.total, by_peer=b.peer, by_group=b.group, refused=self.shed
        )

    def _fits(self, peer: str, group: str, amount: int, ours: bool) -> bool:
        b, shared = self.budget, self._shared(peer, amount)
        if self._peers.get(peer, 0) + amount > b.peer:
            return False
        if shared <= 0:
            return True
        total = b.total if ours else b.total - b.total // 4
        in_group = self._groups.get(group, 0) + shared <= b.group if group else True
        return in_group and self.used + shared <= total


class Flow:
    """How much of a resource with a rate (requests, CPU) each peer and group has spent.

    A token bucket that holds two seconds' worth. It may become negative: what was spent beyond it is owed, so something
    expensive is paid for afterwards.
    """

    __slots__ = ("_buckets", "budget", "shed", "spent")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name -> (left, at which time)
        self.spent = 0.0  # by all together, ever
        self.shed = 0  # refusals

    def allows(self, peer: str, group: str, now: float, *, valued: bool = False) -> bool:
        """Whether nothing is owed by `peer`, by its group, and by all together. valued: see _names."""
        fine = all(self._left(name, rate, now) > 0 for name, rate in self._names(peer, group, valued))
        self.shed += not fine
        return fine

    def spend(self, peer: str, group: str, amount: float, now: float, *, valued: bool = False) -> None:
        """Charge `amount` to `peer`, to its group and to all together, whether it is left or not."""
        self.spent += amount
        for name, rate in self._names(peer, group, valued):
            left = self._left(name, rate, now)
            self._buckets.pop(name, None)
            self._buckets[name] = (left - amount, now)
        while len(self._buckets) > MAX_SCORED_PEERS:
            self._buckets.popitem(last=False)

    def wait_s(self, peer: str, group: str, now: float, *, valued: bool = False) -> float:
        """Seconds until nothing is owed by `peer`, by its group, and by all together."""
        return max(max(0.0, -self._left(name, rate, now)) / rate for name, rate in self._names(peer, group, valued))

    def owed(self, peer: str, now: float) -> float:
        """What `peer` has spent beyond its own share."""
        return max(0.0, -self._left("p/" + peer, self.budget.peer, now))

    def is_over(self, peer: str, now: float) -> bool:
        """Whether `peer` has used up its own share, no matter what others did."""
        return self._left("p/" + peer, self.budget.peer, now) <= 0

    def status(self) -> BudgetRow:
        b = self.budget
        return BudgetRow(
            spent=round(self.spent), a_second=b.total, by_peer=b.peer, by_group=b.group, refused=self.shed
        )

    def _names(self, peer: str, group: str, valued: bool) -> Iterable[tuple[str, int]]:
        """(bucket, rate) for each bucket that a peer draws from. A valued peer has a whole group's share for itself,
        and does not depend on what strangers have spent."""
        if valued:
            yield "p/" + peer, self.budget.group
            return
        yield "p/" + peer, self.budget.peer
        if group:
            yield "g/" + group, self.budget.group
        yield "all", self.budget.total

    def _left(self, name: str, rate: int, now: float) -> float:
        left, since = self._buckets.get(name, (2.0 * rate, now))
        return min(2.0 * rate, left + max(0.0, now - since) * rate)


class Budgets:
    """The budgets of one host, by the names in limits.BUDGETS."""

    def __init__(self) -> None:
        self.unparsed = Ledger(BUDGETS["unparsed bytes"])
        self.outgoing = Ledger(BUDGETS["outgoing bytes"])
        self.half_open = Ledger(BUDGETS["half open"])
        self.streams = Ledger(BUDGETS["streams"])
        self.handshakes = Flow(BUDGETS["handshakes"])
        self.requests = Flow(BUDGETS["requests"])
        self.work = Flow(BUDGETS["work ms"])
        self.reservations = Ledger(BUDGETS["reservations"])
        self.circuits = Ledger(BUDGETS["circuits"])
        self.relayed = Flow(BUDGETS["relayed bytes"])
        self.dial_backs = Flow(BUDGETS["dial backs"])

    def status(self) -> dict[str, BudgetRow]:
        """By resource."""
        return {
            "unparsed bytes": self.unparsed.status(), "outgoing bytes": self.outgoing.status(),
            "half open": self.half_open.status(), "handshakes": self.handshakes.status(),
            "streams": self.streams.status(), "requests": self.requests.status(), "work ms": self.work.status(),
            "reservations": self.reservations.status(), "circuits": self.circuits.status(),
            "relayed bytes": self.relayed.status(), "dial backs": self.dial_backs.status(),
        }


@dataclass(frozen=True, slots=True)
class Held:
    """What decides whether a connection makes room for a newcomer."""

    peer: str
    group: str
    since: float  # when it was first seen
    greeted: bool
    valued: bool  # a validator's, or one that we dialled on purpose
    outbound: bool = False  # in a slot of our own: dialled on purpose (slots.py)

    @property
    def wide(self) -> str:
        """Its wide group."""
        return wide_of(self.group)


def first_to_go(held: Iterable[Held], now: float, grace_s: float) -> Held | None:
    """The connection that makes room for a newcomer; None where all must stay.

    First the oldest of those that had `grace_s` seconds to greet and did not; then the youngest of the largest group,
    wide where the address is in a wide one, so 256 networks of one operator are one group. A valued connection stays,
    and so does the only one of a group.
    """
    free = [(one, one.wide or one.group) for one in held if not one.valued]
    silent = [one for one, _ in free if not one.greeted and now - one.since >= grace_s]
    if silent:
        return min(silent, key=lambda one: one.since)
    sizes = Counter(group for _, group in free)
    crowded = [(sizes[group], one.since, one) for one, group in free if sizes[group] > 1]
    return max(crowded, key=lambda row: row[:2], default=(0, 0.0, None))[2]
