"""Whether others can dial this peer, from what witnesses found.

Law: one witness that lies decides nothing where others answer.

Pure: the caller passes the time.

- REACHED-1: of the newest answers, one for each address group of a witness, the last WITNESSES decide by majority. A
  tie changes nothing. An answer that is older than DIAL_BACK_VALID_S does not count.
- REACHED-2: an answer that could not look (busy, the connection was relayed) does not count.
- REACHED-3: only those witnesses count that see us over the widest network that we know of: what a neighbour in the
  same house can dial, the internet may not.
- REACHED-4: a peer that nobody can dial names its relays first, then its addresses in private networks, and no public
  ones: whoever dials those waits for nothing. One that is dialled at another address than its own names that first.
- REACHED-5: a direct connection that somebody made to us over that network is proof, whatever witnesses say.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from p2p.base.limits import DIAL_BACK_VALID_S, WITNESSES
from p2p.gossip.connections.reach import HERE, PUBLIC, scope_at

_KEPT = 4 * WITNESSES  # answers
REACHED = "reached"


class Verdict(StrEnum):
    OPEN = "reachable"
    CLOSED = "not reachable"
    UNKNOWN = "unknown"


# What a witness found -> a sentence. A code that is not here says nothing about us (REACHED-2).
FINDINGS = {
    REACHED: "others can dial {address}",
    "refused": "nothing listens at {address}: the router there does not forward the port",
    "timeout": "nothing answers at {address}: a firewall or a router on the way drops new connections",
    "no_route": "there is no route to {address}",
    "other_peer": "another peer answers at {address}: the port is forwarded to another machine",
    "no_handshake": "what listens at {address} is not this peer: the port is forwarded to something else",
    "not_libp2p": "what listens at {address} is not this peer: the port is forwarded to something else",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one witness found."""

    witness: str
    group: str  # the witness's address group
    code: str
    address: str  # at which it dialled
    clock_ms: int  # how far its clock is ahead of ours at least
    at: float


class Reachability:
    """The findings about this peer."""

    __slots__ = ("_findings", "_last", "_proved_until")

    def __init__(self) -> None:
        self._proved_until = float("-inf")
        self._findings: OrderedDict[str, Finding] = OrderedDict()  # by the witness's address group, the newest last
        self._last = Verdict.UNKNOWN

    def heard(self, finding: Finding) -> None:
        """A witness answered."""
        if finding.code not in FINDINGS:
            return
        key = finding.group or finding.witness
        self._findings.pop(key, None)
        self._findings[key] = finding
        while len(self._findings) > _KEPT:
            self._findings.popitem(last=False)

    def proved(self, now: float) -> None:
        """REACHED-5."""
        self._proved_until = now + DIAL_BACK_VALID_S

    def forget(self) -> None:
        """Nobody is connected any more: this machine may be in another network now."""
        self._findings.clear()
        self._proved_until = float("-inf")
        self._last = Verdict.UNKNOWN

    def decisive(self, now: float) -> list[Finding]:
        """The findings that decide, the newest first."""
        fresh = [one for one in reversed(self._findings.values()) if now - one.at < DIAL_BACK_VALID_S]
        widest = [one for one in fresh if scope_at(one.address) == PUBLIC]
        return (widest or fresh)[:WITNESSES]

    def verdict(self, now: float) -> Verdict:
        """REACHED-1, REACHED-5."""
        found = self.decisive(now)
        good = sum(one.code == REACHED for one in found)
        if now < self._proved_until:
            self._last = Verdict.OPEN
        elif not found:
            self._last = Verdict.UNKNOWN
        elif 2 * good != len(found):
            self._last = Verdict.OPEN if 2 * good > len(found) else Verdict.CLOSED
        return self._last

    def reason(self, now: float) -> str:
        """Why, as one sentence; of the newest finding that agrees with the verdict."""
        is_open = self.verdict(now) is Verdict.OPEN
        for one in self.decisive(now):
            if (one.code == REACHED) is is_open:
                return FINDINGS[one.code].format(address=one.address)
        return "others have dialled it" if is_open else ""

    def witnessed(self, now: float) -> set[str]:
        """Address groups, or peers without one, whose finding counts."""
        return {key for key, one in self._findings.items() if now - one.at < DIAL_BACK_VALID_S}

    def seen_at(self, now: float) -> tuple[str, ...]:
        """The address at which most witnesses dialled us: one that lies cannot make us send others anywhere."""
        found = self.decisive(now)
        named = [one.address for one in found if one.code == REACHED]
        return tuple(address for address in dict.fromkeys(named) if 2 * named.count(address) > len(found))

    def clock_ms(self, now: float) -> int | None:
        """How far others' clocks are ahead of ours; None before anybody answered."""
        found = [one.clock_ms for one in self.decisive(now)]
        return round(median(found)) if found else None


def to_name(
    verdict: Verdict, own: Iterable[str], seen: Iterable[str], relayed: Iterable[str], me: str,
) -> tuple[str, ...]:
    """REACHED-4: the addresses that others are told. own: what is bound, with /p2p/ID, as are the results; seen:
    where others dialled us; relayed: through our relays, without our own id."""
    own = tuple(own)
    if verdict is Verdict.OPEN:
        out = [f"{address}/p2p/{me}" for address in seen] + list(own)
    elif verdict is Verdict.CLOSED:
        near = [address for address in own if scope_at(address.rpartition("/p2p/")[0]) != PUBLIC]
        out = [f"{address}/p2p/{me}" for address in relayed] + near
    else:
        out = list(own)
    return tuple(dict.fromkeys(out))


def may_witness(scope: str, widest: str) -> bool:
    """REACHED-3: whether a peer that sees us at an address of `scope` may be asked; widest: of all connections."""
    return scope not in ("", HERE) and (scope == PUBLIC or widest != PUBLIC)
