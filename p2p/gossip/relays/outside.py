"""What a peer knows of itself as others see it: whether they can dial it, and through which relays.

Law: what is told to others follows from the findings and places alone, so it can be told again at any time.

Pure: the caller passes the time.
"""

from __future__ import annotations

from collections.abc import Iterable

from p2p.gossip.relays.holding import Holding
from p2p.gossip.relays.reachability import Reachability, Verdict, to_name


class Outside:
    """Of one peer. known: the verdict where the user or a test says it; then no witness is asked."""

    __slots__ = ("_me", "holding", "known", "reach")

    def __init__(self, me: str, known: Verdict | None = None) -> None:
        self._me = me
        self.known = known
        self.reach = Reachability()
        self.holding = Holding(me)

    def verdict(self, now: float) -> Verdict:
        return self.reach.verdict(now) if self.known is None else self.known

    def reason(self, now: float) -> str:
        """Why, as one sentence."""
        return self.reach.reason(now) if self.known is None else "set by the user"

    def to_name(self, own: Iterable[str], now: float) -> tuple[str, ...]:
        """The addresses that others are told (REACHED-4). own: what is bound, with /p2p/ID."""
        return to_name(self.verdict(now), own, self.reach.seen_at(now), self.holding.addresses(), self._me)

    def told(self, now: float) -> object:
        """A value that changes when others should be told anew."""
        return self.verdict(now), self.reach.seen_at(now), self.holding.addresses()
